//! The child that compiles: it reads a component from standard input and writes code to standard output, within bounds, so
//! that whatever a file does to the parser or the compiler costs this process alone.

use std::{
    fs,
    io::{self, Read, Write},
};

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use crate::code::{COMPILE_MEMORY, COMPILE_TIME, LARGEST, STACK, compile};

/// What the program must do when it is run as `Compiler::in_child` says.
///
/// # Errors
/// One line, to be written to standard error before exiting with 1.
pub fn compile_as_child() -> Result<(), String> {
    let words = |error: io::Error| error.to_string();
    let_go().map_err(words)?;
    // Of the thread that began us, which waits for us as long as there is a host: nobody wants the code of one that has gone.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| words(error.into()))?;
    let limits = [
        (Resource::As, COMPILE_MEMORY),
        (Resource::Cpu, COMPILE_TIME.as_secs()),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
    ];
    for (resource, most) in limits {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(|error| words(error.into()))?;
    }
    let mut bytes = Vec::new();
    io::stdin().take(LARGEST + 1).read_to_end(&mut bytes).map_err(words)?;
    // One thread is what its memory is reckoned for, and its stack is of our choice.
    let compiling = std::thread::Builder::new().stack_size(STACK).spawn(move || compile(&bytes)).map_err(words)?;
    let code = compiling.join().map_err(|_| "the compiler panicked".to_owned())??;
    io::stdout().write_all(&code).and_then(|()| io::stdout().flush()).map_err(words)
}

/// Closes what whoever started the host had left open: a child has it too.
#[expect(unsafe_code, reason = "nobody here owns what was inherited")]
fn let_go() -> io::Result<()> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let open = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    for descriptor in open.filter(|descriptor: &i32| *descriptor > 2).collect::<Vec<_>>() {
        // SAFETY: this process has begun just now, and has opened nothing itself but the directory that was read above,
        // which is closed: of that number there is nothing then.
        unsafe { rustix::io::close(descriptor) };
    }
    Ok(())
}

//! A component's bytes, read and compiled, and kept.
//!
//! Reading a component is dangerous (a few kilobytes of nested types overflow the parser's stack, nested components eat
//! gigabytes), so a host has it done by a child process of its own; a test kit trusts its author and does it here.
//! Compiled code is native code: what is kept is loaded only if it is, byte for byte, what our compiler wrote.

use std::{
    collections::HashSet,
    ffi::OsString,
    fmt, fs,
    hash::{Hash, Hasher},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use crate::{Engine, role::Surface, turns::Turns};

/// A larger file is no component that anybody wrote.
pub(crate) const LARGEST: u64 = 64 << 20;
/// What the child may take: the largest components known compile within a quarter of it.
pub(crate) const COMPILE_MEMORY: u64 = 2 << 30;
/// Deep enough for what compilers write; what is nested deeper overflows it and ends the child.
pub(crate) const STACK: usize = 16 << 20;
pub(crate) const COMPILE_TIME: Duration = Duration::from_mins(1);
/// Compiled code is larger than its source; more than this is no answer of our compiler's.
const LARGEST_CODE: u64 = 16 * LARGEST;

/// The SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// One that was reckoned elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A component, compiled and ready to be linked.
pub struct Code {
    pub(crate) component: Component,
    bytes: Bytes,
    digest: Digest,
    surface: Surface,
}

impl Code {
    /// As they were given.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub fn surface(&self) -> &Surface {
        &self.surface
    }
}

/// Why a file is no component that can be run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("is larger than {} MiB", LARGEST >> 20)]
    TooLarge,
    #[error("is not a WebAssembly component: it does not begin with \\0asm")]
    NotWasm,
    #[error("is a core module, not a component; build it for the target wasm32-wasip2")]
    CoreModule,
    #[error("can't be compiled: {0}")]
    Invalid(String),
    #[error("can't be compiled: it is nested too deep, and overflows the compiler's stack of {} MiB", STACK >> 20)]
    TooDeep,
    #[error("can't be compiled within {} MiB of memory", COMPILE_MEMORY >> 20)]
    TooMuchMemory,
    #[error("can't be compiled within {} s of a processor's time", COMPILE_TIME.as_secs())]
    TooLong,
    #[error("the compiler could not be run: {0}")]
    Compiler(std::io::Error),
}

/// How components are compiled, and where code is kept.
pub struct Compiler {
    child: Option<(PathBuf, Vec<OsString>)>,
    kept: Option<PathBuf>,
    /// Each compiler may take gigabytes, and a processor.
    turns: Turns,
}

impl Compiler {
    /// Compiles in this process and keeps nothing: for authors who trust what they test.
    pub fn in_process() -> Self {
        Self { child: None, kept: None, turns: Turns::new(1) }
    }

    /// Has `program ARGUMENTS` compile: given a component on standard input, it must call [`crate::compile_as_child`], and
    /// exit with 1 and one line on standard error where that fails. Code is kept in the folder `kept`.
    pub fn in_child(program: PathBuf, arguments: Vec<OsString>, kept: Option<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let compiler = Self { child: Some((program, arguments)), kept, turns: Turns::new(cores) };
        // Half written, by whoever ended over it.
        compiler.sweep(|name| name.starts_with('.'));
        compiler
    }

    /// Lets go of kept code, but for that of these components on this machine. Blocks.
    pub fn keep_only(&self, engine: &Engine, components: &[Digest]) {
        let wanted: HashSet<String> = components.iter().map(|digest| file_name(engine, *digest)).collect();
        // One that is being written begins with a dot.
        self.sweep(|name| !name.starts_with('.') && !wanted.contains(name));
    }

    /// Lets go of what is kept under such a name.
    fn sweep(&self, goes: impl Fn(&str) -> bool) {
        let files = self.kept.as_ref().and_then(|folder| fs::read_dir(folder).ok());
        for file in files.into_iter().flatten().flatten().filter(|file| goes(&file.file_name().to_string_lossy())) {
            // What can't go takes some room until the next time.
            let _ = fs::remove_file(file.path());
        }
    }

    /// Loads a component; blocks for as long as it takes to compile.
    pub fn load(&self, engine: &Engine, bytes: impl Into<Bytes>) -> Result<Code, LoadError> {
        let bytes = bytes.into();
        if bytes.len() as u64 > LARGEST {
            return Err(LoadError::TooLarge);
        }
        check_preamble(&bytes)?;
        let digest = Digest::of(&bytes);
        let kept = self.kept.as_ref().map(|folder| folder.join(file_name(engine, digest)));
        if let Some(component) = kept.as_deref().and_then(read_kept).and_then(|code| deserialize(engine, &code).ok()) {
            let surface = Surface::of(&component, engine.wasm());
            return Ok(Code { component, bytes, digest, surface });
        }
        let code = match &self.child {
            Some((program, arguments)) => {
                let _turn = self.turns.wait();
                compile_in_child(program, arguments, &bytes)?
            }
            None => compile(&bytes).map_err(LoadError::Invalid)?,
        };
        let component = deserialize(engine, &code).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        if let Some(path) = kept {
            // Kept to save time; that it can't be is no reason not to serve.
            let _ = write_kept(&path, &code);
        }
        let surface = Surface::of(&component, engine.wasm());
        Ok(Code { component, bytes, digest, surface })
    }
}

/// Compiles `bytes`: what the child does. The error is one line.
pub(crate) fn compile(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut config = crate::engine::config();
    // The child needs no pool, and may not take its addresses. A thread a core would take more than it has, and a stack that
    // is not of our choice; other components are compiled meanwhile, by children of their own.
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand).parallel_compilation(false);
    let one_line = |error: wasmtime::Error| format!("{error:#}").replace('\n', " ");
    let engine = wasmtime::Engine::new(&config).map_err(one_line)?;
    engine.precompile_component(bytes).map_err(one_line)
}

fn check_preamble(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.get(..8) {
        Some(b"\0asm\x01\0\0\0") => Err(LoadError::CoreModule),
        Some(preamble) if preamble.starts_with(b"\0asm") => Ok(()),
        _ => Err(LoadError::NotWasm),
    }
}

#[expect(unsafe_code, reason = "loads native code")]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: these are bytes that our compiler wrote: either just now, through a pipe from our own program, or read from
    // a file of ours whose SHA-256 over the very bytes passed here stands before them.
    unsafe { Component::deserialize(engine.wasm(), code) }
}

/// By digest and by what the engine demands of code, so that a new version of wasmtime or another processor compiles anew.
fn file_name(engine: &Engine, digest: Digest) -> String {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            let digest: [u8; 32] = self.0.clone().finalize().into();
            u64::from_le_bytes(digest[..8].try_into().expect("8 of 32 bytes"))
        }
    }
    let mut sha = Sha(Sha256::new());
    engine.wasm().precompile_compatibility_hash().hash(&mut sha);
    format!("{digest}-{:016x}", sha.finish())
}

/// Reads code and the SHA-256 before it; nothing if they don't agree.
fn read_kept(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(LARGEST_CODE).read_to_end(&mut bytes).ok()?;
    if bytes.len() < 32 {
        return None;
    }
    let code = bytes.split_off(32);
    (Sha256::digest(&code)[..] == bytes[..]).then_some(code)
}

fn write_kept(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    let written = || {
        let mut file = fs::File::create(&unfinished)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    // A disk that is full has room for what is needed more.
    written().inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

fn compile_in_child(program: &Path, arguments: &[OsString], bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LoadError::Compiler)?;
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(LoadError::Compiler(std::io::ErrorKind::BrokenPipe.into()));
    };
    let pipes = std::thread::scope(|scope| {
        // A child that dies stops reading: what it says then is the error.
        scope.spawn(move || stdin.write_all(bytes));
        let words = scope.spawn(move || read_up_to(stderr, 16 << 10));
        let code = read_up_to(stdout, LARGEST_CODE);
        (code, words.join().unwrap_or_default())
    });
    let (code, words) = pipes;
    let status = child.wait().map_err(LoadError::Compiler)?;
    if status.success() {
        return Ok(code);
    }
    Err(reason(&String::from_utf8_lossy(&words), status))
}

fn read_up_to(pipe: impl Read, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What could not be read is missed by whoever looks at the bytes.
    let _ = pipe.take(most).read_to_end(&mut bytes);
    bytes
}

fn reason(words: &str, status: std::process::ExitStatus) -> LoadError {
    use std::os::unix::process::ExitStatusExt as _;
    if words.contains("has overflowed its stack") {
        return LoadError::TooDeep;
    }
    if words.contains("memory allocation of")
        || words.contains("out of memory")
        || words.contains("Cannot allocate memory")
    {
        return LoadError::TooMuchMemory;
    }
    // SIGXCPU, SIGKILL and SIGALRM are how the limits on time end a process.
    match status.signal() {
        Some(24 | 9 | 14) => LoadError::TooLong,
        Some(signal) => LoadError::Invalid(format!("the compiler was ended by signal {signal}")),
        None => LoadError::Invalid(words.lines().last().unwrap_or("the compiler said nothing").trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: it imports and exports nothing.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A compiler that gives what is in `code`, and writes down that it was run.
    struct Child {
        folder: tempfile::TempDir,
        engine: Engine,
    }

    impl Child {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("code"), compile(EMPTY).unwrap()).unwrap();
            Self { folder, engine: Engine::new().unwrap() }
        }

        fn load(&self) -> Result<Code, LoadError> {
            let script = "cat >/dev/null; echo >>$0/runs; cat $0/code";
            let arguments = ["-c".into(), script.into(), self.folder.path().into()];
            Compiler::in_child("/bin/sh".into(), arguments.into(), Some(self.folder.path().join("kept")))
                .load(&self.engine, EMPTY)
        }

        fn runs(&self) -> usize {
            fs::read(self.folder.path().join("runs")).unwrap_or_default().len()
        }

        fn kept(&self) -> PathBuf {
            let files: Vec<_> = fs::read_dir(self.folder.path().join("kept")).unwrap().collect();
            let [Ok(file)] = &files[..] else { panic!("one file was to be kept: {files:?}") };
            file.path()
        }
    }

    /// The compiler's engine has no pool, and ours has one: what the first makes, the second must take.
    #[test]
    fn what_was_compiled_is_kept_and_loaded() {
        let child = Child::new();
        for _ in 0..3 {
            let code = child.load().unwrap();
            assert_eq!((code.digest(), code.surface().role), (Digest::of(EMPTY), None));
        }
        assert_eq!(child.runs(), 1);
    }

    #[test]
    fn what_was_kept_and_is_damaged_is_compiled_again() {
        let damages: [fn(&mut Vec<u8>); 5] = [
            |kept| kept.clear(),
            |kept| kept.truncate(31),
            |kept| kept.truncate(kept.len() - 1),
            |kept| kept[0] ^= 1,
            |kept| {
                let middle = kept.len() / 2;
                kept[middle] ^= 1;
            },
        ];
        let child = Child::new();
        child.load().unwrap();
        for (runs, damage) in (2..).zip(damages) {
            let mut kept = fs::read(child.kept()).unwrap();
            damage(&mut kept);
            fs::write(child.kept(), &kept).unwrap();
            child.load().unwrap();
            assert_eq!(child.runs(), runs);
            // And is whole again.
            child.load().unwrap();
            assert_eq!(child.runs(), runs);
        }
    }

    /// Its own SHA-256 agrees, but it is none of this wasmtime's code.
    #[test]
    fn what_was_kept_and_is_no_code_is_compiled_again() {
        let child = Child::new();
        child.load().unwrap();
        write_kept(&child.kept(), b"another version's").unwrap();
        child.load().unwrap();
        assert_eq!(child.runs(), 2);
    }

    #[test]
    fn what_no_compiler_would_say_is_not_loaded() {
        let child = Child::new();
        fs::write(child.folder.path().join("code"), b"nonsense").unwrap();
        assert!(matches!(child.load(), Err(LoadError::Invalid(_))));
        assert!(fs::read_dir(child.folder.path().join("kept")).is_err(), "nothing is kept of it");
    }

    /// Neither variables nor files of ours: what the shell makes for itself is all that it has.
    #[test]
    fn a_child_inherits_nothing() {
        let child = Child::new();
        let path = child.folder.path().join("code");
        let _open = fs::File::open(&path).unwrap();
        let script = "cat >/dev/null; env >$0/env; ls -l /proc/$$/fd >$0/descriptors; cat $0/code";
        let arguments = ["-c".into(), script.into(), child.folder.path().into()];
        Compiler::in_child("/bin/sh".into(), arguments.into(), None).load(&child.engine, EMPTY).unwrap();
        let read = |name: &str| fs::read_to_string(child.folder.path().join(name)).unwrap();
        let variables = read("env");
        let strange = |line: &&str| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own));
        assert_eq!(variables.lines().find(strange), None);
        assert!(read("descriptors").contains(" 0 -> pipe:"));
        assert!(!read("descriptors").contains(path.to_str().unwrap()), "{}", read("descriptors"));
    }

    #[test]
    fn why_a_child_ended_is_told() {
        let engine = Engine::new().unwrap();
        for (script, words) in [
            ("echo 'line 1' >&2; echo 'not a component' >&2; exit 1", "can't be compiled: not a component"),
            ("exit 1", "can't be compiled: the compiler said nothing"),
            (
                "echo \"thread 'x' has overflowed its stack\" >&2; kill -ABRT $$",
                "can't be compiled: it is nested too deep, and overflows the compiler's stack of 16 MiB",
            ),
            (
                "echo 'memory allocation of 8 bytes failed' >&2; kill -ABRT $$",
                "can't be compiled within 2048 MiB of memory",
            ),
            ("kill -XCPU $$", "can't be compiled within 60 s of a processor's time"),
            ("kill -SEGV $$", "can't be compiled: the compiler was ended by signal 11"),
        ] {
            let compiler = Compiler::in_child("/bin/sh".into(), vec!["-c".into(), script.into()], None);
            assert_eq!(compiler.load(&engine, EMPTY).err().map(|error| error.to_string()).as_deref(), Some(words));
        }
        let missing = Compiler::in_child("/no/such".into(), Vec::new(), None).load(&engine, EMPTY).err();
        assert!(matches!(missing, Some(LoadError::Compiler(_))), "{missing:?}");
    }
}

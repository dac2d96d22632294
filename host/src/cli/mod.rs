//! The command line: one file a subcommand, each of which turns arguments into one call, and its outcome into words and
//! an exit code. No logic that a library call could not reach.
//!
//! Exit codes: 0 done, 1 failed, 2 not understood.

mod check;
mod compile;
mod inspect;
mod keygen;
mod logs;
mod ps;
mod reload;
mod report;
mod run;
mod state;
mod swap;
mod table;
mod test;
mod wit;

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    process::ExitCode,
};

use clap::{CommandFactory, Parser, Subcommand, error::ErrorKind};

pub use inspect::Inspection;
pub use test::CaseOutcome;

use crate::terminal::Colours;

/// Serves web sites and services out of Git branches, through sandboxed components that are proved before they serve.
#[derive(Debug, Parser)]
#[command(name = "host", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  host run components/*.wasm         a site, a router and what they need, on this machine alone
  host run --manifest host.toml      what a manifest says
  host ps                            what serves, and what does not and why
  host swap site new.wasm            replace a component while it serves

`host COMMAND --help` says more. Exit status: 0 done, 1 failed, 2 not understood.";

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Check(check::Check),
    Ps(ps::Ps),
    Swap(swap::Swap),
    Logs(logs::Logs),
    Reload(reload::Reload),
    Inspect(inspect::Inspect),
    Test(test::Test),
    Keygen(keygen::Keygen),
    Wit(wit::Wit),
    Compile(compile::Compile),
}

/// The whole program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = Cli::try_parse_from(arguments).map_err(anyhow::Error::from);
    let outcome = outcome.and_then(|cli| cli.execute(&mut std::io::stdout()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::report(&error, &mut std::io::stderr().lock(), colours(&std::io::stderr())),
    }
}

impl Cli {
    fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        match self.command {
            Command::Run(run) => run.execute(),
            Command::Check(check) => check.execute(output),
            Command::Ps(ps) => ps.execute(output),
            Command::Swap(swap) => swap.execute(output),
            Command::Logs(logs) => logs.execute(output),
            Command::Reload(reload) => reload.execute(output),
            Command::Inspect(inspect) => inspect.execute(output),
            Command::Test(test) => test.execute(output),
            Command::Keygen(keygen) => keygen.execute(output),
            Command::Wit(wit) => wit.execute(output),
            Command::Compile(compile::Compile {}) => Ok(compile::execute()?),
        }
    }
}

/// What `command` was given that clap itself takes, in clap's form and with its exit code.
fn usage(command: &str, kind: ErrorKind, message: impl std::fmt::Display) -> anyhow::Error {
    let mut cli = Cli::command();
    cli.build();
    cli.find_subcommand_mut(command).expect("a command asks under its own name").error(kind, message).into()
}

/// For what is written to `stream`.
pub fn colours(stream: &impl IsTerminal) -> Colours {
    let variable = |name| std::env::var_os(name);
    Colours::of(stream.is_terminal(), variable("NO_COLOR").as_deref(), variable("TERM").as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{
        server::Bounds,
        tests::{Running, everybody},
    };
    use atoll_runtime::Source;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help() {
        let help = Cli::command().term_width(100).render_long_help().to_string();
        assert_eq!(help, include_str!("help.txt"));
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.contains(&format!("host {name}")), "{name}");
        }
    }

    #[test]
    fn what_is_not_understood() {
        for arguments in [
            &["host", "walk"][..],
            &["host", "swap", "site"],
            &["host", "run", "--http", "8080", "x.wasm"],
            &["host", "run", "--bind", "pages", "x.wasm"],
            &["host", "ps", "--jsno"],
        ] {
            let error = Cli::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
        let error = Cli::try_parse_from(["host", "run", "--http", "8080", "x.wasm"]).unwrap_err().to_string();
        assert!(error.contains("`8080` is not an IP address and a port: write \"127.0.0.1:8080\""), "{error}");
    }

    #[test]
    fn a_running_host_is_asked() {
        let host = Running::start(Bounds::default(), everybody);
        host.write(Source::Guest("site".into()), "hello");
        // What is printed, or what is said of the failure.
        let ask = |arguments: &[&str]| {
            let state = ["--state", host.state.path().to_str().unwrap()];
            let arguments = ["host"].iter().chain(arguments).chain(&state);
            let mut output = Vec::new();
            let code = match Cli::try_parse_from(arguments).unwrap().execute(&mut output) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => report::report(&error, &mut output, Colours::NEVER),
            };
            (code, String::from_utf8(output).unwrap())
        };
        let done = |text: &str| (ExitCode::SUCCESS, text.to_owned());
        let failed = |text: &str| (ExitCode::FAILURE, text.to_owned());

        let good = host.file(b"good");
        assert_eq!(ask(&["swap", "site", good.to_str().unwrap()]), done("site site 4\n"));
        let broken = host.file(b"broken");
        assert_eq!(
            ask(&["swap", "site", broken.to_str().unwrap()]),
            failed(&format!("_headers:3: bad\nhost: {}: site failed its proof\n", broken.display()))
        );
        assert_eq!(
            ask(&["swap", "site", "/nowhere.wasm"]),
            failed("host: cannot read /nowhere.wasm: No such file or directory (os error 2)\n")
        );
        assert_eq!(
            ask(&["swap", "siet", good.to_str().unwrap()]),
            failed(&format!("host: {}: no component `siet`; did you mean `site`?\n", good.display()))
        );
        assert_eq!(ask(&["reload"]), done("site\nanother certificate: a.pem, valid until 2027\n"));
        let (code, logs) = ask(&["logs", "site"]);
        assert_eq!((code, logs.split_once(' ').unwrap().1), (ExitCode::SUCCESS, "site> hello\n"));
        assert_eq!(ask(&["logs", "x"]), failed("host: no component `x`\n"));
        let (code, json) = ask(&["ps", "--json"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(
            json.starts_with(r#"{"listening":[],"components":[{"name":"site","role":null,"digest":null,"#),
            "{json}"
        );
    }
}

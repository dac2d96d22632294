//! What is said when a command failed, once: what is wrong in files a line each, so that an editor can jump there, then
//! one line with the error and what caused it.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::compile::Line;
use crate::{
    control::{client::ClientError, messages::Refusal},
    problem::Problems,
    terminal::{Colour, Colours},
    text::{causes, printable},
};

/// What comes of mistakes in what should have been run.
pub(super) const NOT_STARTED: &str = "nothing was started";

/// Writes it out; the exit code says what kind it was.
pub(super) fn report(error: &anyhow::Error, output: &mut dyn Write, colours: Colours) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Help and the version are errors of this kind too, for standard output.
        let _ = usage.print();
        return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
    }
    // Whoever read us has what they wanted: `host ps | head -1`.
    let output_error = match error.downcast_ref() {
        Some(ClientError::Output(error)) => Some(error),
        _ => error.downcast_ref::<io::Error>(),
    };
    if output_error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nothing can be done where even this cannot be written.
    let _ = write(error, output, colours);
    ExitCode::FAILURE
}

fn write(error: &anyhow::Error, output: &mut dyn Write, colours: Colours) -> io::Result<()> {
    if let Some(line) = error.downcast_ref::<Line>() {
        return writeln!(output, "{line}");
    }
    let mut words = Vec::new();
    for cause in error.chain() {
        match cause.downcast_ref::<Problems>() {
            Some(problems) => write_problems(problems, output)?,
            None => words.push(printable(&cause.to_string()).into_owned()),
        }
    }
    writeln!(output, "{} {}", colours.paint(Colour::Red, "host:"), causes(words))
}

/// One a line, those of several lines with the rest below.
pub(super) fn write_problems(problems: &Problems, output: &mut dyn Write) -> io::Result<()> {
    for problem in &problems.0 {
        for line in problem.to_string().split('\n') {
            writeln!(output, "{}", printable(line))?;
        }
    }
    Ok(())
}

/// What a running host refused, as an error of this program's.
pub(super) fn refused(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(Refusal { message, problems }) if !problems.is_empty() => {
            anyhow::Error::new(Problems(problems)).context(message)
        }
        error => error.into(),
    }
}

/// What is wrong in a manifest, with what comes of it.
pub(super) fn mistakes(problems: Problems, outcome: &str) -> anyhow::Error {
    let count = match problems.0.len() {
        1 => "1 mistake".to_owned(),
        count => format!("{count} mistakes"),
    };
    anyhow::Error::new(problems).context(format!("{count}; {outcome}"))
}

/// Why a host could not start, where that has a line of the manifest.
pub(super) fn not_started(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Problems>() {
        Ok(problems) => anyhow::Error::new(problems).context(NOT_STARTED),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::problem::Problem;

    /// Compares what is written, without colours.
    #[track_caller]
    fn check(error: &anyhow::Error, code: ExitCode, written: &str) {
        let mut output = Vec::new();
        assert_eq!(report(error, &mut output, Colours::NEVER), code);
        assert_eq!(String::from_utf8(output).unwrap(), written);
    }

    #[test]
    fn a_chain_is_one_line() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let error = ClientError::Component { path: PathBuf::from("x\u{1b}.wasm"), source: denied };
        check(&error.into(), ExitCode::FAILURE, "host: cannot read x\\u{1b}.wasm: permission denied\n");
        let repeated = anyhow::anyhow!("a").context("b: a").context("c");
        check(&repeated, ExitCode::FAILURE, "host: c: b: a\n");
    }

    #[test]
    fn problems_are_a_line_each() {
        let problem = |line, message: &str| Problem { file: Some("host.toml".into()), line, message: message.into() };
        let problems = vec![problem(Some(3), "a\u{1b}"), problem(None, "b; add\n[component.x]")];
        check(
            &mistakes(Problems(problems.clone()), NOT_STARTED),
            ExitCode::FAILURE,
            "host.toml:3: a\\u{1b}\nhost.toml: b; add\n[component.x]\nhost: 2 mistakes; nothing was started\n",
        );
        let refusal = Refusal { message: "site failed its proof".into(), problems: problems[..1].to_vec() };
        check(
            &refused(ClientError::Refused(refusal)),
            ExitCode::FAILURE,
            "host.toml:3: a\\u{1b}\nhost: site failed its proof\n",
        );
        check(&refused(ClientError::Refused(Refusal::new("no"))), ExitCode::FAILURE, "host: no\n");
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        check(&closed().into(), ExitCode::SUCCESS, "");
        check(&ClientError::Output(closed()).into(), ExitCode::SUCCESS, "");
        let gone = ClientError::Gone(Some(closed()));
        check(&gone.into(), ExitCode::FAILURE, "host: the host went away before it answered: broken pipe\n");
    }
}

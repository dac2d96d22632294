//! What a user sees with curl, whatever the name, at the host's address and trusting its local CA.

use std::{net::SocketAddr, path::Path};

use tokio::process::Command;

use super::wait::{SOON, within};

/// A response as curl prints it.
#[derive(Debug)]
pub(crate) struct Printed {
    /// 0 where curl was content.
    pub(crate) code: Option<i32>,
    pub(crate) status: u16,
    /// Status line and fields of the last response.
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) said: String,
}

/// `curl ARGUMENTS`, the last of which is a URL.
pub(crate) async fn curl(address: SocketAddr, ca: &Path, arguments: &[&str]) -> Printed {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--include", "--max-time", "15", "--connect-to", &format!("::{address}")])
        .arg("--cacert")
        .arg(ca)
        .args(arguments)
        .env_remove("https_proxy")
        .env_remove("http_proxy")
        .kill_on_drop(true);
    let output = within(SOON, "curl", command.output()).await.expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = last_response(&text);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Printed { code: output.status.code(), status, head: head.to_owned(), body: body.to_owned(), said }
}

/// After interim responses and followed redirects, the one that counts.
fn last_response(text: &str) -> (&str, &str) {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    if body.starts_with("HTTP/") { last_response(body) } else { (head, body) }
}

#[test]
fn the_last_response_counts() {
    let text =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/2 308 \r\nlocation: /x\r\n\r\nHTTP/2 200 \r\na: b\r\n\r\nbody\r\n\r\nmore";
    assert_eq!(last_response(text), ("HTTP/2 200 \r\na: b", "body\r\n\r\nmore"));
}

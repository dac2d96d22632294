//! What is said over the socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{journal::Entry, problem::Problem};

/// The first line of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Answered with `Status`.
    Ps {},
    /// Followed by so many bytes: the component. The client opens the file, so that its own permissions count. Answered
    /// when its proof has ended.
    Swap { name: String, length: u64 },
    /// Answered when the manifest was read and all that changed was proved.
    Reload {},
    /// Answered with the lines that are kept and, with `follow`, with those to come, until either side closes.
    Logs { follow: bool, name: Option<String> },
}

/// A line from the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Reply {
    Status(Status),
    /// SHA-256 of the component that serves now, in hexadecimal.
    Swapped {
        digest: String,
    },
    Reloaded(Reloaded),
    Line(Entry),
    /// So many lines came too fast for this client.
    Lost {
        lines: u64,
    },
    /// No line will follow.
    End,
    Failed(Refusal),
}

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Those that have a new generation.
    pub components: Vec<String>,
    /// Those that are others now: the file, and until when it is valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<String>,
    /// What is not as the manifest's author would have it, though it was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Problem>,
    /// What was fetched by what the manifest says now, and does not serve.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disproved: Vec<Problem>,
}

/// What `host ps --json` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where clients come in: URLs of addresses, with the port that port 0 became.
    #[serde(default)]
    pub listening: Vec<String>,
    pub components: Vec<ComponentStatus>,
    pub bindings: Vec<BindingStatus>,
    /// A URL each.
    #[serde(default)]
    pub upstreams: Vec<UpstreamStatus>,
    /// The manifest's.
    pub certificates: Vec<CertificateStatus>,
    /// Why the manifest as it stands now was not taken, where the last reload changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentStatus {
    pub name: String,
    /// `router`, `service` or `agent`; none where nothing of it was ever loaded.
    pub role: Option<String>,
    /// Of what serves: SHA-256 in hexadecimal; none before the first proof.
    pub digest: Option<String>,
    /// What it reads, by binding as the component names it.
    pub revisions: BTreeMap<String, String>,
    /// Alive now.
    pub instances: u64,
    /// Of its instances' guest memory, in bytes.
    pub memory: u64,
    /// Since the host started, whatever generation answered.
    pub requests: u64,
    /// Requests that were answered out of memory, and those that might have been.
    pub hits: u64,
    pub misses: u64,
    pub traps: u64,
    /// Seconds for which this generation has served.
    pub uptime: u64,
    /// Older generations that still carry something.
    pub draining: u64,
    /// Whether it was swapped, and a restart would serve the manifest's file again.
    pub swapped: bool,
    /// Why the newest candidate does not serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingStatus {
    pub name: String,
    /// Where it is fetched from, without credentials, and the branch where the manifest says one.
    #[serde(default)]
    pub origin: String,
    /// What was fetched, which may be newer than what serves; none for a branch without a commit.
    pub revision: Option<String>,
    /// Why it cannot be fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// Of its table, `[upstream.NAME]`.
    pub name: String,
    pub url: String,
    /// How often in a row it could not be reached, until now.
    pub refusals: u64,
    /// Seconds for which it is left alone yet, where others of its table answer.
    pub rests: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The file that it was read from.
    pub chain: String,
    /// And addresses.
    pub names: Vec<String>,
    /// RFC 3339.
    pub expires: String,
    /// Why clients do not take it, or soon will not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Why something was not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub message: String,
    /// By file and line, where it is a file's fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

impl Refusal {
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), problems: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        for (request, line) in [
            (Request::Ps {}, r#"{"request":"ps"}"#),
            (Request::Swap { name: "site".into(), length: 3 }, r#"{"request":"swap","name":"site","length":3}"#),
            (Request::Reload {}, r#"{"request":"reload"}"#),
            (Request::Logs { follow: true, name: None }, r#"{"request":"logs","follow":true,"name":null}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
    }

    #[test]
    fn a_status_is_what_ps_prints() {
        let component = ComponentStatus {
            name: "site".into(),
            role: Some("service".into()),
            digest: Some("ab".into()),
            revisions: [("pages".into(), "cd".into())].into(),
            requests: 7,
            ..ComponentStatus::default()
        };
        let binding = BindingStatus { name: "pages".into(), error: Some("gone".into()), ..BindingStatus::default() };
        let upstream = UpstreamStatus { name: "api".into(), url: "http://a.test".into(), refusals: 2, rests: 1 };
        let status = Status {
            listening: vec!["https://[::1]:443".into()],
            components: vec![component],
            bindings: vec![binding],
            upstreams: vec![upstream],
            ..Status::default()
        };
        assert_eq!(
            serde_json::to_string(&status).unwrap(),
            concat!(
                r#"{"listening":["https://[::1]:443"],"components":[{"name":"site","role":"service","digest":"ab","revisions":{"pages":"cd"},"instances":0,"#,
                r#""memory":0,"requests":7,"hits":0,"misses":0,"traps":0,"uptime":0,"draining":0,"swapped":false}],"#,
                r#""bindings":[{"name":"pages","origin":"","revision":null,"error":"gone"}],"#,
                r#""upstreams":[{"name":"api","url":"http://a.test","refusals":2,"rests":1}],"certificates":[]}"#
            )
        );
    }
}

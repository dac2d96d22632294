//! `host ps`: what serves.

use std::io::Write;

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    report::refused,
    state::State,
    table::{duration, size, table},
};
use crate::{
    control::{
        client::Client,
        messages::{BindingStatus, CertificateStatus, ComponentStatus, Status, UpstreamStatus},
    },
    text::printable,
};

/// Show what serves in the running host, and why what does not
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ps {
    #[command(flatten)]
    state: State,

    /// Everything, for a program
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  host ps
  host ps --json | jq '.components[] | select(.error)'

REQUESTS are those that a component was asked since the host started, by its instances; HITS were answered \
out of memory without it, MISSES might have been another time. INSTANCES are those alive now, MEMORY is what the idle ones of them hold; \
UPTIME is of what serves now: a push, a swap or a reload begins anew.";

impl Ps {
    pub(super) fn execute(self, output: &mut dyn Write) -> anyhow::Result<()> {
        let status = Client::new(&self.state.directory()?).status().map_err(refused)?;
        if self.json {
            writeln!(output, "{}", serde_json::to_string(&status)?)?;
        } else {
            write!(output, "{}", render(&status, &TimeZone::system()))?;
        }
        Ok(())
    }
}

/// What is wrong stands below the table that it is about.
fn render(status: &Status, zone: &TimeZone) -> String {
    let heads = [
        "NAME",
        "ROLE",
        "DIGEST",
        "REVISIONS",
        "INSTANCES",
        "MEMORY",
        "REQUESTS",
        "HITS",
        "MISSES",
        "TRAPS",
        "UPTIME",
        "",
    ];
    let rows = std::iter::once(heads.map(str::to_owned)).chain(status.components.iter().map(component));
    let errors = status.components.iter().map(|component| (&component.name, &component.error));
    let mut text = table(&rows.collect::<Vec<_>>()) + &explained(errors);
    if !status.listening.is_empty() {
        let rows = std::iter::once("LISTENING").chain(status.listening.iter().map(String::as_str));
        let rows: Vec<[String; 1]> = rows.map(|row| [printable(row).into_owned()]).collect();
        text = text + "\n" + &table(&rows);
    }
    if !status.upstreams.is_empty() {
        let heads = ["UPSTREAM", "URL", ""].map(str::to_owned);
        let rows = std::iter::once(heads).chain(status.upstreams.iter().map(upstream));
        text = text + "\n" + &table(&rows.collect::<Vec<_>>());
    }
    if !status.bindings.is_empty() {
        let heads = ["BINDING", "REVISION", "ORIGIN"].map(str::to_owned);
        let rows = std::iter::once(heads).chain(status.bindings.iter().map(binding));
        let errors = status.bindings.iter().map(|binding| (&binding.name, &binding.error));
        text = text + "\n" + &table(&rows.collect::<Vec<_>>()) + &explained(errors);
    }
    if !status.certificates.is_empty() {
        let heads = ["CERTIFICATE", "EXPIRES", "NAMES"].map(str::to_owned);
        let rows = std::iter::once(heads).chain(status.certificates.iter().map(|one| certificate(one, zone)));
        text = text + "\n" + &table(&rows.collect::<Vec<_>>());
        for warning in status.certificates.iter().filter_map(|certificate| certificate.warning.as_ref()) {
            text = text + &printable(warning) + "\n";
        }
    }
    let reload = explained([(&"reload".to_owned(), &status.error)].into_iter());
    if reload.is_empty() { text } else { text + "\n" + &reload }
}

fn component(component: &ComponentStatus) -> [String; 12] {
    let revisions =
        component.revisions.iter().map(|(name, revision)| format!("{}@{}", printable(name), short(revision)));
    let revisions = revisions.collect::<Vec<_>>().join(" ");
    let mut notes = Vec::new();
    if component.swapped {
        notes.push("not what its file holds".to_owned());
    }
    if component.draining > 0 {
        notes.push(format!("{} draining", component.draining));
    }
    [
        printable(&component.name).into_owned(),
        component.role.as_deref().map_or("-".into(), |role| printable(role).into_owned()),
        component.digest.as_deref().map_or("-".into(), short),
        if revisions.is_empty() { "-".into() } else { revisions },
        component.instances.to_string(),
        size(component.memory),
        component.requests.to_string(),
        component.hits.to_string(),
        component.misses.to_string(),
        component.traps.to_string(),
        component.digest.as_deref().map_or("-".into(), |_| duration(component.uptime)),
        notes.join(", "),
    ]
}

fn binding(binding: &BindingStatus) -> [String; 3] {
    let revision = binding.revision.as_deref().map_or("-".into(), short);
    [printable(&binding.name).into_owned(), revision, printable(&binding.origin).into_owned()]
}

fn upstream(upstream: &UpstreamStatus) -> [String; 3] {
    let note = match (upstream.refusals, upstream.rests) {
        (0, _) => String::new(),
        (count, 0) => format!("can't be reached ({count} in a row)"),
        (count, rests) => format!("can't be reached ({count} in a row), left alone for {}", duration(rests)),
    };
    [printable(&upstream.name).into_owned(), printable(&upstream.url).into_owned(), note]
}

fn certificate(certificate: &CertificateStatus, zone: &TimeZone) -> [String; 3] {
    const SHOWN: usize = 3;
    let shown = certificate.names.iter().take(SHOWN).map(|name| printable(name)).collect::<Vec<_>>().join(" ");
    let more = certificate.names.len().saturating_sub(SHOWN);
    let expires = certificate.expires.parse::<Timestamp>().map_or_else(
        |_| printable(&certificate.expires).into_owned(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
    );
    let names = if more == 0 { shown } else { format!("{shown} and {more} more") };
    [printable(&certificate.chain).into_owned(), expires, names]
}

fn explained<'a>(errors: impl Iterator<Item = (&'a String, &'a Option<String>)>) -> String {
    let mut text = String::new();
    for (name, error) in errors {
        for line in error.iter().flat_map(|error| error.lines()) {
            text = text + &printable(name) + ": " + &printable(line) + "\n";
        }
    }
    text
}

/// As much of an identifier as tells it from others.
fn short(id: &str) -> String {
    if id.is_empty() { "-".into() } else { printable(id).chars().take(12).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_aligned_and_explained() {
        let upstream =
            |url: &str, refusals, rests| UpstreamStatus { name: "api".into(), url: url.into(), refusals, rests };
        let status = Status {
            listening: vec!["http://127.0.0.1:80".into(), "https://[::1]:443".into()],
            upstreams: vec![
                upstream("http://a.test", 0, 0),
                upstream("http://b.test", 1, 0),
                upstream("https://c.test:8443", 7, 64),
            ],
            components: vec![
                ComponentStatus {
                    name: "router".into(),
                    role: Some("router".into()),
                    digest: Some("0123456789abcdef".into()),
                    revisions: [("routes".into(), String::new())].into(),
                    requests: 12,
                    uptime: 3725,
                    swapped: true,
                    draining: 2,
                    ..ComponentStatus::default()
                },
                ComponentStatus {
                    name: "site".into(),
                    error: Some("_headers:3: bad\u{1b}\n_headers:9: worse".into()),
                    ..ComponentStatus::default()
                },
            ],
            bindings: vec![BindingStatus {
                name: "pages".into(),
                origin: "pages.git, branch main".into(),
                revision: Some("fedcba98765432100000".into()),
                error: Some("there is nothing".into()),
            }],
            certificates: vec![CertificateStatus {
                chain: "chain.pem".into(),
                names: ["a.test", "b.test", "c.test", "d.test", "e.test"].map(str::to_owned).into(),
                expires: "2026-11-30T23:00:00Z".into(),
                warning: Some("host.toml:3: chain.pem expires soon".into()),
            }],
            error: Some("nothing was changed\nhost.toml:3: bad".into()),
        };
        assert_eq!(
            render(&status, &TimeZone::fixed(jiff::tz::offset(2))),
            "\
NAME    ROLE    DIGEST        REVISIONS  INSTANCES  MEMORY  REQUESTS  HITS  MISSES  TRAPS  UPTIME
router  router  0123456789ab  routes@-   0          0B      12        0     0       0      1h2m    not what its file holds, 2 draining
site    -       -             -          0          0B      0         0     0       0      -
site: _headers:3: bad\\u{1b}
site: _headers:9: worse

LISTENING
http://127.0.0.1:80
https://[::1]:443

UPSTREAM  URL
api       http://a.test
api       http://b.test        can't be reached (1 in a row)
api       https://c.test:8443  can't be reached (7 in a row), left alone for 1m4s

BINDING  REVISION      ORIGIN
pages    fedcba987654  pages.git, branch main
pages: there is nothing

CERTIFICATE  EXPIRES                    NAMES
chain.pem    2026-12-01T01:00:00+02:00  a.test b.test c.test and 2 more
host.toml:3: chain.pem expires soon

reload: nothing was changed
reload: host.toml:3: bad
"
        );
    }
}

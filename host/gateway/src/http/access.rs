//! The access log: one line a request, written when its response has ended. Every word of a client's is escaped; writing
//! never waits.

use std::{
    borrow::Cow,
    io::Write as _,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use atoll_semantics::authority::Authority;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{REFERER, USER_AGENT},
};
use jiff::{Timestamp, tz::TimeZone};

use crate::http::clock::Clock;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Apache's combined log format.
    Combined,
}

/// Takes lines, each with its line feed. Must not block.
pub trait Sink: Send + Sync + 'static {
    fn write(&self, line: &[u8]);
}

/// Where lines go, and how they look.
pub(super) struct Log {
    pub(super) format: Format,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What is known of one request; its line is written when this is dropped.
pub(super) struct Record {
    log: Arc<Log>,
    begun: Instant,
    method: Method,
    target: Uri,
    version: Version,
    referer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    pub(super) client: IpAddr,
    pub(super) authority: Option<Arc<Authority>>,
    /// None where the client went away before there was one.
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: u64,
    pub(super) upstream: Option<Upstream>,
    pub(super) error: Option<Cow<'static, str>>,
    pub(super) complete: bool,
}

/// Who answered.
#[derive(Clone)]
pub(super) struct Upstream {
    /// A component's name, or that of a URL.
    pub(super) name: Arc<str>,
    /// A component's revision.
    pub(super) revision: Option<Arc<str>>,
    /// Out of memory.
    pub(super) remembered: bool,
}

/// As nginx has it: the client closed the connection.
const CLIENT_LEFT: u16 = 499;

impl Record {
    pub(super) fn begin<B>(log: &Arc<Log>, request: &Request<B>, client: IpAddr) -> Box<Self> {
        let combined = log.format == Format::Combined;
        let field = |fields: &HeaderMap, name| if combined { fields.get(name).cloned() } else { None };
        Box::new(Self {
            log: log.clone(),
            begun: log.clock.instant(),
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            referer: field(request.headers(), REFERER),
            agent: field(request.headers(), USER_AGENT),
            client,
            authority: None,
            status: None,
            bytes: 0,
            upstream: None,
            error: None,
            complete: false,
        })
    }

    /// The line of a request that was none: nothing of it is known but why not.
    pub(super) fn refused(log: &Arc<Log>, client: IpAddr, version: Version, status: StatusCode, why: String) {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(b"-").expect("a token");
        *request.uri_mut() = Uri::from_static("*");
        *request.version_mut() = version;
        let mut record = Self::begin(log, &request, client);
        record.status = Some(status);
        record.error = Some(why.into());
        record.complete = true;
    }

    fn line(&self, wall: SystemTime, duration: Duration) -> Vec<u8> {
        let mut line = Vec::with_capacity(320);
        match self.log.format {
            Format::Json => self.json(&mut line, wall, duration),
            Format::Combined => self.combined(&mut line, wall),
        }
        line.push(b'\n');
        line
    }

    fn json(&self, line: &mut Vec<u8>, wall: SystemTime, duration: Duration) {
        let time = Timestamp::try_from(wall).unwrap_or_default();
        let _ = write!(line, "{{\"time\":\"{time:.3}\",\"client\":\"{}\",\"method\":", self.client);
        string(line, self.method.as_str());
        if let Some(authority) = &self.authority {
            line.extend_from_slice(b",\"authority\":");
            string(line, &authority.name);
        }
        line.extend_from_slice(b",\"target\":");
        string(line, self.target());
        let _ = write!(
            line,
            ",\"protocol\":\"{:?}\",\"status\":{},\"bytes\":{},\"duration\":{:.6}",
            self.version,
            self.status(),
            self.bytes,
            duration.as_secs_f64()
        );
        if let Some(upstream) = &self.upstream {
            line.extend_from_slice(b",\"upstream\":");
            string(line, &upstream.name);
            if let Some(revision) = &upstream.revision {
                line.extend_from_slice(b",\"revision\":");
                string(line, revision);
                let _ = write!(line, ",\"remembered\":{}", upstream.remembered);
            }
        }
        if let Some(error) = &self.error {
            line.extend_from_slice(b",\"error\":");
            string(line, error);
        }
        line.push(b'}');
    }

    fn combined(&self, line: &mut Vec<u8>, wall: SystemTime) {
        let time = Timestamp::try_from(wall).unwrap_or_default().to_zoned(TimeZone::UTC);
        let _ = write!(line, "{} - - [{}] \"", self.client, time.strftime("%d/%b/%Y:%H:%M:%S +0000"));
        escaped(line, self.method.as_str().as_bytes());
        line.push(b' ');
        escaped(line, self.target().as_bytes());
        let _ = write!(line, " {:?}\" {} {} \"", self.version, self.status(), self.bytes);
        escaped(line, self.referer.as_ref().map_or(b"-", HeaderValue::as_bytes));
        line.extend_from_slice(b"\" \"");
        escaped(line, self.agent.as_ref().map_or(b"-", HeaderValue::as_bytes));
        line.push(b'"');
    }

    /// The target as the client sent it, without scheme and authority.
    fn target(&self) -> &str {
        self.target.path_and_query().map_or("", http::uri::PathAndQuery::as_str)
    }

    fn status(&self) -> u16 {
        self.status.map_or(CLIENT_LEFT, |status| status.as_u16())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.complete && self.error.is_none() {
            self.error = Some(Cow::Borrowed("the client left"));
        }
        let duration = self.log.clock.instant().saturating_duration_since(self.begun);
        self.log.sink.write(&self.line(self.log.clock.wall(), duration));
    }
}

fn string(line: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(line, text).expect("a string, into memory");
}

/// Printable ASCII but for quotes and backslashes, the rest as `\x..`.
fn escaped(line: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => drop(write!(line, "\\x{byte:02X}")),
            byte => line.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, Mutex},
        time::{Duration, Instant, SystemTime},
    };

    use atoll_semantics::authority::Authority;
    use http::{Request, StatusCode};

    use super::{Format, Log, Record, Sink, Upstream};
    use crate::http::clock::Clock;

    #[derive(Default)]
    struct Lines(Mutex<Vec<u8>>);

    impl Sink for Lines {
        fn write(&self, line: &[u8]) {
            self.0.lock().unwrap().extend_from_slice(line);
        }
    }

    /// Each look at it takes 1.5 ms.
    struct Ticking(Mutex<Instant>);

    impl Clock for Ticking {
        fn instant(&self) -> Instant {
            let mut now = self.0.lock().unwrap();
            *now += Duration::from_micros(1500);
            *now
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_250)
        }
    }

    fn line(format: Format, target: &str, with: impl FnOnce(&mut Record)) -> String {
        let lines = Arc::new(Lines::default());
        let clock = Arc::new(Ticking(Mutex::new(Instant::now())));
        let log = Arc::new(Log { format, sink: lines.clone(), clock });
        let request = Request::get(target).header("user-agent", "curl \"8\"\\é").body(()).unwrap();
        let mut record = Record::begin(&log, &request, "192.0.2.1".parse().unwrap());
        with(&mut record);
        drop(record);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_line_of_json() {
        let remembered = line(Format::Json, "https://a.test/x?q=%22", |record| {
            record.authority = Some(Arc::new(Authority::parse(b"a.test").unwrap()));
            record.status = Some(StatusCode::OK);
            record.bytes = 5;
            record.upstream = Some(Upstream { name: "site".into(), revision: Some("c0ffee".into()), remembered: true });
            record.complete = true;
        });
        assert_eq!(
            remembered,
            "{\"time\":\"1994-11-06T08:49:37.250Z\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\
             \"authority\":\"a.test\",\"target\":\"/x?q=%22\",\"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes\":5,\
             \"duration\":0.001500,\"upstream\":\"site\",\"revision\":\"c0ffee\",\"remembered\":true}\n"
        );
        let failed = line(Format::Json, "/x", |record| {
            record.status = Some(StatusCode::BAD_GATEWAY);
            record.upstream = Some(Upstream { name: "app".into(), revision: None, remembered: false });
            record.error = Some("upstream unreachable: \"x\"\nrefused".into());
            record.complete = true;
        });
        assert_eq!(
            failed,
            "{\"time\":\"1994-11-06T08:49:37.250Z\",\"client\":\"192.0.2.1\",\"method\":\"GET\",\"target\":\"/x\",\
             \"protocol\":\"HTTP/1.1\",\"status\":502,\"bytes\":0,\"duration\":0.001500,\"upstream\":\"app\",\
             \"error\":\"upstream unreachable: \\\"x\\\"\\nrefused\"}\n"
        );
    }

    #[test]
    fn a_client_that_left() {
        let left = line(Format::Json, "/x", |_| {});
        assert!(left.contains("\"status\":499,\"bytes\":0,") && left.ends_with("\"error\":\"the client left\"}\n"));
    }

    #[test]
    fn a_combined_line() {
        let combined = line(Format::Combined, "/x?y", |record| {
            record.status = Some(StatusCode::NOT_FOUND);
            record.bytes = 9;
            record.complete = true;
        });
        assert_eq!(
            combined,
            "192.0.2.1 - - [06/Nov/1994:08:49:37 +0000] \"GET /x?y HTTP/1.1\" 404 9 \"-\" \
             \"curl \\x228\\x22\\x5C\\xC3\\xA9\"\n"
        );
    }
}

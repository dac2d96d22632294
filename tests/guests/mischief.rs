//! A service whose path chooses the misdeed, for the tests that see what it does to the host and to its neighbours. Words
//! behind `?` choose how much. What is no misdeed helps the tests to look: `/head`, `/count`, `/echo`, `/respond`.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unnecessary_wraps, reason = "every misdeed answers as `handle` does")]

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use guests::atoll::host::repository::Branch;
use guests::exports::wasi::http::handler::Guest;
use guests::wasi::clocks::{monotonic_clock, system_clock};
use guests::wasi::http::client;
use guests::wasi::http::types::{ErrorCode, Fields, Method, Request, Response, Scheme};
use guests::wasi::random::random;
use guests::{refused, respond, text, wit_future, wit_stream};

struct Mischief;

guests::export!(Mischief);

/// Requests that this instance has seen.
static SEEN: AtomicU32 = AtomicU32::new(0);

/// Three hundred years, in nanoseconds.
const FOREVER: u64 = u64::MAX / 2;

impl Guest for Mischief {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let seen = SEEN.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = Query(query);
        match path {
            // To look with.
            "/" => ok("mischief\n"),
            "/head" => query.respond(head(&request)),
            "/count" => query.respond(format!("{seen}\n")),
            "/respond" => query.respond(query.text("body").unwrap_or_default()),
            "/echo" => echo(request),
            "/size" => size(request).await,
            "/copy" => copy(request),
            "/env" => {
                ok(std::env::vars().map(|(name, value)| format!("{name}={value}\n")).collect::<Vec<_>>().concat())
            }
            "/log" => log(&query),
            "/read" => read(&query),

            // What marks an instance.
            "/large" => large(query.number("mb", 10)),
            "/clock" => query.respond(format!("{} {seen}\n", system_clock::now().seconds)),
            "/clock-p2" => ok(format!("{:?}\n", std::time::SystemTime::now())),
            "/random" => query.respond(format!("{}\n", random::get_random_u64())),
            "/outbound" => outbound(&query).await,

            // What nobody granted, tried all the same; and what is nobody's to grant.
            "/connect" => ok(said(std::net::TcpStream::connect(query.text("to").unwrap_or_default()))),
            "/listen" => ok(said(std::net::TcpListener::bind("127.0.0.1:0"))),
            "/datagram" => ok(said(std::net::UdpSocket::bind("127.0.0.1:0"))),
            "/resolve" => ok(said(std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 80)))),
            "/files" => ok([said(std::fs::read_dir("/")), said(std::fs::File::open("/etc/passwd"))].concat()),
            "/arguments" => ok(format!("{}\n", std::env::args().count())),
            // What every hash map asks for: chance, but the same for a whole generation.
            "/seed" => query.respond(format!("{} {seen}\n", RandomState::new().hash_one(0))),

            // Time.
            "/loop" => spin(),
            "/hang" => {
                monotonic_clock::wait_for(FOREVER).await;
                ok("never seen\n")
            }
            "/sleep" => {
                monotonic_clock::wait_for(query.number("ms", 1000) * 1_000_000).await;
                query.respond(format!("{seen}\n"))
            }
            "/slow-body" => slow_body(query.number("ms", 100), query.number("n", 10)),
            "/stuck-body" => stuck_body(),
            "/endless-body" => endless_body(),

            // Memory, the guest's and the host's.
            "/memory" => memory(query.number("mb", u64::MAX)),
            "/recurse" => ok(format!("{}\n", recurse(0))),
            "/open-loop" => open_loop(query.number("n", u64::MAX)),
            "/readers" => readers(query.number("n", 1000), query.text("path").as_deref().unwrap_or("index.html")),
            "/fields" => fields(query.number("n", 10 * 1024)),
            "/fields-loop" => fields_loop(query.number("n", 10_000)),
            "/log-flood" => log_flood(query.number("n", u64::MAX)),

            // Ends.
            "/trap" => core::arch::wasm32::unreachable(),
            "/panic" => panic!("a panic with words"),
            "/exit" => std::process::exit(3),
            "/nothing" => Err(ErrorCode::InternalError(Some("nothing to say\nand a second line".into()))),
            "/trap-midbody" => trap_midbody(),
            "/error-midbody" => error_midbody(),
            "/wrong-length" => text(200, &[("content-length", "10")], "short"),
            "/too-long" => text(200, &[("content-length", "5")], "much too long"),
            "/bad-length" => text(200, &[("content-length", "1e3")], "x"),
            "/two-lengths" => text(200, &[("content-length", "1"), ("content-length", "2")], "xx"),
            "/status" => text(u16::try_from(query.number("code", 999)).unwrap_or(u16::MAX), &[], "a status\n"),
            "/bad-field" => text(200, &[("bad name", "x")], "x"),
            "/bad-value" => text(200, &[("x-a", "x\r\nx-b: y")], "x"),
            "/hop-by-hop" => {
                text(200, &[("connection", "x-gone"), ("x-gone", "1"), ("transfer-encoding", "chunked")], "x")
            }
            _ => text(404, &[], "no misdeed is called that\n"),
        }
    }
}

fn ok(body: impl Into<Vec<u8>>) -> Result<Response, ErrorCode> {
    text(200, &[("content-type", "text/plain")], body)
}

fn said<T>(outcome: std::io::Result<T>) -> String {
    outcome.map_or_else(|error| format!("{error}\n"), |_| "done\n".into())
}

/// The words behind `?`.
struct Query<'q>(&'q str);

impl Query<'_> {
    /// Every value of `name`, decoded.
    fn texts(&self, name: &str) -> impl Iterator<Item = String> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(move |(other, _)| *other == name).map(|(_, value)| decode(value))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.texts(name).next()
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.text(name).map_or(otherwise, |number| number.parse().expect("a number"))
    }

    /// With the `status`, and each `f=Name:value` as a field.
    fn respond(&self, body: String) -> Result<Response, ErrorCode> {
        let status = u16::try_from(self.number("status", 200)).expect("a status");
        let fields: Vec<String> = self.texts("f").collect();
        let fields: Vec<(&str, &str)> = fields.iter().filter_map(|field| field.split_once(':')).collect();
        text(status, &fields, body)
    }
}

fn decode(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                u8::from_str_radix(&String::from_utf8_lossy(&digits), 16).expect("two digits")
            }
            b'+' => b' ',
            _ => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the host handed over, a line a thing.
fn head(request: &Request) -> String {
    let mut out = format!("{:?} {}\n", request.get_method(), request.get_path_with_query().unwrap_or_default());
    let (scheme, authority) = (request.get_scheme(), request.get_authority());
    writeln!(out, "scheme: {scheme:?}\nauthority: {}", authority.unwrap_or_default()).expect("memory");
    for (name, value) in request.get_headers().copy_all() {
        writeln!(out, "{name}: {}", String::from_utf8_lossy(&value)).expect("memory");
    }
    out
}

/// The request's body, handed on as it is, trailers and all.
fn echo(request: Request) -> Result<Response, ErrorCode> {
    let (_, result) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, result);
    let (response, _) = Response::new(Fields::new(), Some(body), trailers);
    Ok(response)
}

/// How many bytes the request's body has; or the error.
async fn size(request: Request) -> Result<Response, ErrorCode> {
    let (_, result) = wit_future::new(|| Ok(()));
    let (body, trailers) = Request::consume_body(request, result);
    let body = body.collect().await;
    trailers.await?;
    ok(format!("{}\n", body.len()))
}

/// The request's body, through the guest's memory.
fn copy(request: Request) -> Result<Response, ErrorCode> {
    let (_, result) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, result);
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        let mut buffer = Vec::with_capacity(64 * 1024);
        loop {
            let (status, bytes) = body.read(buffer).await;
            let rest = writer.write_all(bytes).await;
            if !matches!(status, wit_bindgen::StreamResult::Complete(_)) || !rest.is_empty() {
                break;
            }
            buffer = rest;
            buffer.reserve(64 * 1024);
        }
    });
    let fields = Fields::from_list(&[("letter".to_owned(), vec![letter()])]).expect("a name and a letter");
    let (response, _) = Response::new(fields, Some(reader), trailers);
    Ok(response)
}

/// `line` to standard output and `error` to standard error.
fn log(query: &Query<'_>) -> Result<Response, ErrorCode> {
    query.texts("line").for_each(|line| println!("{line}"));
    query.texts("error").for_each(|line| eprintln!("{line}"));
    ok("logged\n")
}

/// The file at `path` of the branch bound to `from`, handed on.
fn read(query: &Query<'_>) -> Result<Response, ErrorCode> {
    let branch = Branch::open(query.text("from").as_deref().unwrap_or("pages")).map_err(refused)?;
    let (contents, _) = branch.read(query.text("path").as_deref().unwrap_or("index.html")).map_err(refused)?;
    respond(200, &[], Some(contents))
}

/// What the origin at `url` says to a GET, behind its status; or the error.
async fn outbound(query: &Query<'_>) -> Result<Response, ErrorCode> {
    let url = query.text("url").unwrap_or_default();
    let (scheme, rest) = url.split_once("://").ok_or_else(|| refused("a URL without a scheme"))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    request.set_method(&Method::Get).map_err(|()| refused("the method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| refused("the scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("the authority"))?;
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(|()| refused("the path"))?;
    match client::send(request).await {
        Ok(response) => {
            let status = response.get_status_code();
            let (_, result) = wit_future::new(|| Ok(()));
            let (body, trailers) = Response::consume_body(response, result);
            let body = body.collect().await;
            let whole = if trailers.await.is_ok() { "" } else { " (cut)" };
            ok([format!("{status}{whole}\n").into_bytes(), body].concat())
        }
        Err(error) => ok(format!("{error:?}\n")),
    }
}

fn spin() -> Result<Response, ErrorCode> {
    loop {
        std::hint::black_box(());
    }
}

/// `n` lines, one each `ms`.
fn slow_body(ms: u64, n: u64) -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        for line in 0..n {
            monotonic_clock::wait_for(ms * 1_000_000).await;
            if !writer.write_all(format!("line {line}\n").into_bytes()).await.is_empty() {
                break;
            }
        }
    });
    respond(200, &[], Some(reader))
}

/// Tests make a second version by changing it in the built file.
fn letter() -> u8 {
    const LETTER: &str = "the letter is a";
    *std::hint::black_box(LETTER).as_bytes().last().expect("it ends with a letter")
}

/// So many mebibytes of one letter.
fn large(mb: u64) -> Result<Response, ErrorCode> {
    let letter = letter();
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        for _ in 0..mb * 16 {
            if !writer.write_all(vec![letter; 64 * 1024]).await.is_empty() {
                break;
            }
        }
    });
    respond(200, &[], Some(reader))
}

/// A beginning, and then nothing more, for ever.
fn stuck_body() -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"some of the body\n".to_vec()).await;
        monotonic_clock::wait_for(FOREVER).await;
    });
    respond(200, &[], Some(reader))
}

fn endless_body() -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move { while writer.write_all(vec![b'x'; 64 * 1024]).await.is_empty() {} });
    respond(200, &[], Some(reader))
}

/// `mb` mebibytes, written to; without a number, until there are no more.
fn memory(mb: u64) -> Result<Response, ErrorCode> {
    let mut eaten = Vec::new();
    for _ in 0..mb {
        eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
    ok(format!("{} MiB\n", eaten.len()))
}

#[expect(unconditional_recursion, reason = "it is what it is for")]
fn recurse(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + room[63]
}

/// Handles that the host has to remember.
fn open_loop(n: u64) -> Result<Response, ErrorCode> {
    let mut open = Vec::new();
    for _ in 0..n {
        open.push(Branch::open("pages").map_err(refused)?);
    }
    ok(format!("{} branches\n", open.len()))
}

/// Streams of one file, none of which is read.
fn readers(n: u64, path: &str) -> Result<Response, ErrorCode> {
    let branch = Branch::open("pages").map_err(refused)?;
    let mut open = Vec::new();
    for _ in 0..n {
        open.push(branch.read(path).map_err(refused)?);
    }
    ok(format!("{} readers\n", open.len()))
}

/// A head of `n` KiB.
fn fields(n: u64) -> Result<Response, ErrorCode> {
    let value = "x".repeat(1024);
    let names: Vec<String> = (0..n).map(|n| format!("x-{n}")).collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), value.as_str())).collect();
    text(200, &fields, "fields\n")
}

/// `n` sets of fields of 64 KiB each, all held.
fn fields_loop(n: u64) -> Result<Response, ErrorCode> {
    let set: Vec<(String, Vec<u8>)> = (0..64).map(|n| (format!("x-{n}"), vec![b'x'; 1024])).collect();
    let mut held = Vec::new();
    for _ in 0..n {
        held.push(Fields::from_list(&set).map_err(|error| refused(&error))?);
    }
    ok(format!("{} sets of fields\n", held.len()))
}

fn log_flood(n: u64) -> Result<Response, ErrorCode> {
    let start = Instant::now();
    for line in 0..n {
        println!("line {line} that nobody wants to read {}", "x".repeat(200));
    }
    ok(format!("flooded for {:?}\n", start.elapsed()))
}

/// Some of the body, which the client has, and then a trap.
fn trap_midbody() -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"some of the body\n".to_vec()).await;
        monotonic_clock::wait_for(50_000_000).await;
        core::arch::wasm32::unreachable()
    });
    respond(200, &[], Some(reader))
}

/// Some of the body, and an error in place of its end.
fn error_midbody() -> Result<Response, ErrorCode> {
    let (mut writer, reader) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"some of the body\n".to_vec()).await;
        drop(writer);
        // Nobody who waits for it is no misdeed.
        let _ = end.write(Err(ErrorCode::InternalError(Some("half way".into())))).await;
    });
    let (response, _) = Response::new(Fields::new(), Some(reader), trailers);
    Ok(response)
}

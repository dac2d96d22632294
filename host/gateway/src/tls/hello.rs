//! The client's first bytes, up to the end of its ClientHello, whoever the client is: TLS, plain HTTP, or anything.
//! Bounded in bytes; the time is the caller's to bound. A client that says nothing holds no buffer.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Poll, ready},
};

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, ReadBuf};

/// A ClientHello with post-quantum key shares has 2 KiB; a whole record is the most that is sensible.
pub(super) const LONGEST: usize = 16 * 1024;

/// What rustls takes at once.
const CHUNK: usize = 4096;

const METHODS: [&[u8]; 10] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT ", b"PRI "];

/// Why there is no ClientHello.
pub(super) enum Refusal {
    /// The client left before it had said all.
    Left,
    Http,
    TooLarge,
    /// With the alert that says so, ready to be sent.
    Malformed(rustls::Error, Vec<u8>),
    Io(io::Error),
}

pub(super) async fn read<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Accepted, Refusal> {
    let mut hello = Hello::Undecided(Vec::new());
    let mut total = 0;
    poll_fn(|cx| {
        loop {
            let mut chunk = [MaybeUninit::uninit(); CHUNK];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut chunk)).map_err(Refusal::Io)?;
            let bytes = chunk.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(Refusal::Left));
            }
            total += bytes.len();
            if let Some(accepted) = hello.take(bytes)? {
                return Poll::Ready(Ok(accepted));
            }
            if total > LONGEST {
                return Poll::Ready(Err(Refusal::TooLarge));
            }
        }
    })
    .await
}

enum Hello {
    /// The beginning of a method, perhaps.
    Undecided(Vec<u8>),
    Tls(Box<Acceptor>),
}

impl Hello {
    fn take(&mut self, bytes: &[u8]) -> Result<Option<Accepted>, Refusal> {
        match self {
            Hello::Tls(acceptor) => feed(acceptor, bytes),
            Hello::Undecided(begun) => {
                begun.extend_from_slice(bytes);
                if METHODS.iter().any(|method| begun.starts_with(method)) {
                    return Err(Refusal::Http);
                }
                if METHODS.iter().any(|method| method.starts_with(begun)) {
                    return Ok(None);
                }
                let begun = std::mem::take(begun);
                let mut acceptor = Box::<Acceptor>::default();
                let accepted = feed(&mut acceptor, &begun);
                *self = Hello::Tls(acceptor);
                accepted
            }
        }
    }
}

fn feed(acceptor: &mut Acceptor, mut bytes: &[u8]) -> Result<Option<Accepted>, Refusal> {
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).map_err(Refusal::Io)?;
        match acceptor.accept() {
            Ok(None) => {}
            // What follows a hello at once was read with it.
            Ok(Some(accepted)) if bytes.is_empty() => return Ok(Some(accepted)),
            Ok(Some(_)) => return Err(Refusal::TooLarge),
            Err((error, mut alert)) => {
                let mut record = Vec::new();
                alert.write_all(&mut record).map_err(Refusal::Io)?;
                return Err(Refusal::Malformed(error, record));
            }
        }
    }
    Ok(None)
}

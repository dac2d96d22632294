//! What the fuzzers call: what must hold of what we read of a connection beside whoever speaks its protocol, whatever bytes
//! there are. The first byte of those that come in pieces says how they are cut.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    ear::Hear as _,
    frames::{Flood, Frames, Most},
    heads::{Heads, News},
    http2::{Allowed, Overheard, STREAMS},
    proxy::{ProxyError, proxied},
};

type Read = Result<Option<std::net::SocketAddr>, ProxyError>;

/// The beginning of a connection.
pub fn proxy(bytes: &[u8]) {
    let (read, taken) = header(bytes);
    assert!(taken <= 16 + 4096 && (taken <= 107 || bytes.starts_with(b"\r\n")), "it waits for too much");
    let Ok(client) = read else { return };
    // Not a byte of the client's, and nothing of the client's counts.
    let (again, all) = header(&bytes[..taken]);
    assert_eq!((again.ok(), all), (Some(client), taken));
    if let Some(client) = client {
        let (kind, ip, port) = (if client.is_ipv4() { "TCP4" } else { "TCP6" }, client.ip(), client.port());
        let line = format!("PROXY {kind} {ip} {ip} {port} 1\r\n");
        assert_eq!(header(line.as_bytes()).0.ok(), Some(Some(client)), "{line}");
    }
}

/// What a client sends over HTTP/1.1.
pub fn heads(bytes: &[u8]) {
    let Some((cut, bytes)) = cut(bytes) else { return };
    let mut whole = Heads::default();
    let expected = whole.received(bytes);
    let (mut pieces, mut news) = (Heads::default(), News::default());
    for (number, piece) in bytes.chunks(cut).enumerate() {
        let part = pieces.received(piece);
        let refused = part.refused.map(|read| number * cut + read);
        news = News { vouched: news.vouched + part.vouched, begun: news.begun | part.begun, open: part.open, refused };
        if refused.is_some() {
            break;
        }
    }
    assert_eq!((news, pieces.between()), (expected, whole.between()), "in pieces of {cut}");
    if let Some((end, coded, length)) = first_head(bytes) {
        assert_eq!(Heads::default().received(&bytes[..end]).vouched, u32::from(coded && !length));
    }
}

/// Where the first head ends, and whether it names a transfer coding, and a length.
fn first_head(bytes: &[u8]) -> Option<(usize, bool, bool)> {
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let (mut end, mut coded, mut length) = (begin, false, false);
    for (number, line) in bytes[begin..].split_inclusive(|byte| *byte == b'\n').enumerate() {
        end += line.len();
        let line = line.strip_suffix(b"\n")?;
        let line = &line[line.iter().take_while(|byte| **byte == b'\r').count()..];
        if number == 0 {
            continue;
        }
        if line.is_empty() {
            return Some((end, coded, length));
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            coded |= line[..colon].eq_ignore_ascii_case(b"transfer-encoding");
            length |= line[..colon].eq_ignore_ascii_case(b"content-length");
        }
    }
    None
}

/// What a client sends over HTTP/2, and what we send it.
pub fn frames(bytes: &[u8]) {
    let Some((cut, bytes)) = cut(bytes) else { return };
    let most = Most { resets: 3, control: 5 };
    let received = |pieces: usize| {
        let mut frames = Frames::new(most, 0);
        bytes.chunks(pieces).try_for_each(|piece| frames.received(piece, 0)).map(|()| frames.within_head().is_some())
    };
    let (mut resets, mut control, mut expected, mut more) = (0, 0, Ok(false), false);
    for (kind, flags, length, here) in walk(bytes.get(24..).unwrap_or_default()) {
        if matches!(kind, 1 | 9) {
            more = flags & 4 == 0;
        }
        expected = Ok(more || matches!(kind, 1 | 9) && here < length);
        match kind {
            1 | 9 => continue,
            0 if length > 0 || flags & 1 != 0 => continue,
            3 => resets += 1,
            _ => control += 1,
        }
        if resets > most.resets || control > most.control {
            expected = Err(if resets > most.resets { Flood::Resets } else { Flood::Control });
            break;
        }
    }
    assert_eq!(received(usize::MAX), expected);
    assert_eq!(received(cut), expected, "in pieces of {cut}");
    let sending = |pieces: usize| {
        let mut frames = Frames::new(most, 0);
        bytes.chunks(pieces).map(|piece| frames.sending(piece)).sum::<usize>()
    };
    let data: usize = walk(bytes).filter(|(kind, ..)| *kind == 0).map(|(.., here)| here).sum();
    assert_eq!((sending(usize::MAX), sending(cut)), (data, data), "in pieces of {cut}");
}

/// What an upstream sends over HTTP/2.
pub fn settings(bytes: &[u8]) {
    let Some((cut, bytes)) = cut(bytes) else { return };
    let streams = |pieces: usize| {
        let allowed = Arc::<Allowed>::default();
        let mut settings = Overheard::new(allowed.clone(), Duration::ZERO);
        // What ends the connection ends it at the same byte.
        let heard = bytes.chunks(pieces).try_for_each(|piece| settings.hear(piece));
        (allowed.streams.load(Relaxed), heard.is_ok().then(|| settings.whole.is_awaited()))
    };
    let (allowed, awaited) = streams(usize::MAX);
    assert!(allowed <= STREAMS as usize, "{allowed}");
    assert_eq!(streams(cut), (allowed, awaited), "in pieces of {cut}");
    let said = walk(bytes).any(|(kind, flags, length, here)| kind == 4 && flags & 1 == 0 && length == here);
    assert!(said || allowed == 0, "{allowed} without settings");
}

fn cut(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (cut, bytes) = bytes.split_first()?;
    Some((usize::from(*cut).max(1), bytes))
}

/// The frames whose head is whole: kind, flags, length, and how much of the payload is there.
fn walk(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, usize, usize)> {
    std::iter::from_fn(move || {
        let ([high, middle, low, kind, flags, _, _, _, _], rest) = bytes.split_first_chunk()?;
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let here = length.min(rest.len());
        bytes = &rest[here..];
        Some((*kind, *flags, length, here))
    })
}

/// What is read, and how many bytes that takes.
fn header(bytes: &[u8]) -> (Read, usize) {
    let mut rest = bytes;
    let read = match pin!(proxied(&mut rest)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("all of it is there"),
    };
    (read, bytes.len() - rest.len())
}

#[cfg(test)]
#[path = "../../../tests/fuzz/replay.rs"]
mod replay;

#[test]
fn what_was_kept() {
    replay::replay("proxy", proxy);
    replay::replay("heads", heads);
    replay::replay("frames", frames);
    replay::replay("settings", settings);
}

//! The PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): what a load balancer says of the client before
//! the client's own first byte. Only for listeners that nobody but such a balancer can reach, for it is believed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Of version 1, with its line end.
const LONGEST_LINE: usize = 107;
/// Of version 2, behind its 16 bytes: room for every address and for additions, which are not looked at.
const LONGEST_REST: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("no proxy header")]
    Absent,
    #[error("a proxy header too large")]
    TooLarge,
    #[error("a proxy header that can't be read")]
    Malformed,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Who the client is, read off the beginning of a connection and not a byte further; none where the balancer speaks for
/// itself (a check of health) or does not know.
pub async fn proxied<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    // The least that either version has.
    let mut first = [0; 12];
    socket.read_exact(&mut first).await?;
    if first == *SIGNATURE {
        return binary(socket).await;
    }
    if !first.starts_with(b"PROXY ") {
        return Err(ProxyError::Absent);
    }
    let mut line = Vec::with_capacity(LONGEST_LINE);
    line.extend_from_slice(&first);
    while !line.ends_with(b"\n") {
        if line.len() == LONGEST_LINE {
            return Err(ProxyError::TooLarge);
        }
        // Byte by byte: what follows the line is the client's.
        line.push(socket.read_u8().await?);
    }
    text(&line)
}

fn text(line: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let line =
        line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let kind = words.next().ok_or(ProxyError::Malformed)?;
    if kind == "UNKNOWN" {
        return Ok(None);
    }
    let (Some(source), Some(destination), Some(from), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(ProxyError::Malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match kind {
            "TCP4" => text.parse().ok().map(IpAddr::V4),
            "TCP6" => text.parse().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (Some(source), Some(_), Some(from), Some(_)) = (address(source), address(destination), port(from), port(to))
    else {
        return Err(ProxyError::Malformed);
    };
    Ok(Some(SocketAddr::new(source, from)))
}

/// Without a sign or needless zeros.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

async fn binary<S: AsyncRead + Unpin>(socket: &mut S) -> Result<Option<SocketAddr>, ProxyError> {
    let mut head = [0; 4];
    socket.read_exact(&mut head).await?;
    let [command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST {
        return Err(ProxyError::TooLarge);
    }
    let mut rest = vec![0; length];
    socket.read_exact(&mut rest).await?;
    match (command, family) {
        // Of the balancer's own: whatever stands there is to be ignored.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *rest.first_chunk::<12>().ok_or(ProxyError::Malformed)?;
            Ok(Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))))
        }
        (0x21, 0x21) => {
            let all = rest.first_chunk::<36>().ok_or(ProxyError::Malformed)?;
            let address = Ipv6Addr::from(*all.first_chunk::<16>().ok_or(ProxyError::Malformed)?);
            Ok(Some(SocketAddr::new(address.into(), u16::from_be_bytes([all[32], all[33]]))))
        }
        // A family that has no client of ours: Unix sockets, datagrams, none at all.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Ok(None),
        _ => Err(ProxyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::{SIGNATURE, proxied};

    /// The client, and what is left of the bytes.
    async fn read(bytes: &[u8]) -> (String, Vec<u8>) {
        let mut rest = bytes;
        let said = match proxied(&mut rest).await {
            Ok(Some(client)) => client.to_string(),
            Ok(None) => "nobody".to_owned(),
            Err(error) => error.to_string(),
        };
        (said, rest.to_vec())
    }

    fn v2(command: u8, family: u8, length: u16, rest: &[u8]) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes(), rest].concat()
    }

    #[tokio::test]
    async fn lines() {
        const MALFORMED: &str = "a proxy header that can't be read";
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        for (line, client) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", "192.0.2.1:56324"),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "[2001:db8::1]:1"),
            ("PROXY UNKNOWN\r\n", "nobody"),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "nobody"),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1 01 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 198.51.100.1  1 443\r\n", MALFORMED),
            ("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", MALFORMED),
            ("PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.01 198.51.100.1 1 2\r\n", MALFORMED),
            ("PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n", MALFORMED),
            ("PROXY \u{e9}\u{e9}\u{e9}\u{e9}\r\n", MALFORMED),
            ("PROXY unknown\r\n", MALFORMED),
            (&long, "a proxy header too large"),
            ("GET / HTTP/1.1\r\n\r\n", "no proxy header"),
            ("proxy TCP4 192.0.2.1", "no proxy header"),
        ] {
            let (said, rest) = read(format!("{line}GET / HTTP/1.1").as_bytes()).await;
            assert_eq!(said, client, "{line:?}");
            assert!(said == "no proxy header" || said.contains("large") || rest == b"GET / HTTP/1.1", "{line:?}");
        }
    }

    #[tokio::test]
    async fn blocks() {
        const MALFORMED: &str = "a proxy header that can't be read";
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
        let mut six = [0; 36];
        six[..2].copy_from_slice(&[0x20, 1]);
        six[33] = 9;
        let more = [&four[..], &[4, 0, 2, 7, 7]].concat();
        for (what, bytes, client) in [
            ("IPv4", v2(0x21, 0x11, 12, &four), "192.0.2.1:56324"),
            ("with an addition", v2(0x21, 0x11, 17, &more), "192.0.2.1:56324"),
            ("IPv6", v2(0x21, 0x21, 36, &six), "[2001::]:9"),
            ("the balancer's own", v2(0x20, 0x11, 12, &four), "nobody"),
            ("its own, of nothing", v2(0x20, 0, 0, &[]), "nobody"),
            ("of no family", v2(0x21, 0, 0, &[]), "nobody"),
            ("a Unix socket", v2(0x21, 0x31, 216, &[0; 216]), "nobody"),
            ("too short", v2(0x21, 0x11, 11, &four[..11]), MALFORMED),
            ("too short for IPv6", v2(0x21, 0x21, 12, &four), MALFORMED),
            ("an unknown command", v2(0x22, 0x11, 12, &four), MALFORMED),
            ("an unknown version", v2(0x11, 0x11, 12, &four), MALFORMED),
            ("an unknown family", v2(0x21, 0x41, 12, &four), MALFORMED),
        ] {
            let bytes = [bytes, b"hello".to_vec()].concat();
            assert_eq!(read(&bytes).await, (client.to_owned(), b"hello".to_vec()), "{what}");
        }
        assert_eq!(read(&v2(0x21, 0x11, 4097, &[0; 4097])).await.0, "a proxy header too large");
    }

    /// Any beginning of a good one, and any one byte of it changed.
    #[tokio::test]
    async fn cut_and_changed() {
        for whole in [b"PROXY TCP4 192.0.2.1 198.51.100.1 5 4\r\n".to_vec(), v2(0x21, 0x11, 12, &[1; 12])] {
            for end in 0..whole.len() {
                let (said, _) = read(&whole[..end]).await;
                assert!(["early eof", "unexpected end of file"].contains(&&*said), "{end} of {whole:?}: {said}");
            }
            for at in 0..whole.len() {
                for change in 1..=255 {
                    let mut bytes = whole.clone();
                    bytes[at] ^= change;
                    // Where it is still one, it is all of it.
                    let mut rest = &bytes[..];
                    assert!(proxied(&mut rest).await.is_err() || rest.is_empty(), "{bytes:?}");
                }
            }
        }
    }
}

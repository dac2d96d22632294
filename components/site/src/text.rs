//! Text, told from what is not: by the bytes that never stand in it, as file(1) does. And the markup that a text may be.

/// The name of the encoding that `beginning` is text in, if it is text; `whole`, whether it is all there is. What is UTF-8
/// as far as it goes is UTF-8; UTF-16 begins with a byte order mark.
pub(crate) fn charset(beginning: &[u8], whole: bool) -> Option<&'static str> {
    if let Some(rest) = beginning.strip_prefix(b"\xff\xfe") {
        return is_utf_16(rest, u16::from_le_bytes, whole).then_some("utf-16le");
    }
    if let Some(rest) = beginning.strip_prefix(b"\xfe\xff") {
        return is_utf_16(rest, u16::from_be_bytes, whole).then_some("utf-16be");
    }
    if !beginning.iter().all(|byte| stands_in_text(*byte)) {
        return None;
    }
    match core::str::from_utf8(beginning) {
        Ok(_) => Some("utf-8"),
        // The last character was cut off.
        Err(error) if error.error_len().is_none() && !whole => Some("utf-8"),
        // Where Latin-1 has control characters, Windows has quotation marks.
        Err(_) if beginning.iter().any(|byte| matches!(byte, 0x80..=0x84 | 0x86..=0x9f)) => Some("windows-1252"),
        Err(_) => Some("iso-8859-1"),
    }
}

/// The type of a text. HTML and XML that are not UTF-8 say themselves what they are written in.
pub(crate) fn media_type(beginning: &[u8], charset: &str) -> &'static str {
    match (markup_of(beginning), charset) {
        (Some(Markup::Html), "utf-8") => "text/html; charset=utf-8",
        (Some(Markup::Html), _) => "text/html",
        (Some(Markup::Svg), "utf-8") => "image/svg+xml; charset=utf-8",
        (Some(Markup::Svg), _) => "image/svg+xml",
        (Some(Markup::Xml), "utf-8") => "text/xml; charset=utf-8",
        (Some(Markup::Xml), _) => "text/xml",
        (None, "utf-16le") => "text/plain; charset=utf-16le",
        (None, "utf-16be") => "text/plain; charset=utf-16be",
        (None, "windows-1252") => "text/plain; charset=windows-1252",
        (None, "iso-8859-1") => "text/plain; charset=iso-8859-1",
        (None, _) => "text/plain; charset=utf-8",
    }
}

enum Markup {
    Html,
    Svg,
    Xml,
}

/// What says that it is markup from its first character on, as far as file(1) reads over what stands before. A fragment of
/// HTML, or HTML after a comment, is text that somebody writes about it, or Markdown.
fn markup_of(beginning: &[u8]) -> Option<Markup> {
    let document = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let text = document.trim_ascii_start();
    let html: [&[u8]; 3] = [b"<!doctype html", b"<html", b"<!doctype netscape-bookmark-file-1"];
    if html.iter().any(|tag| opens(text, tag)) {
        return Some(Markup::Html);
    }
    // Nothing stands before an XML declaration, and names in XML have a case.
    let xml = opens(document, b"<?xml");
    let element = if xml { behind_prolog(document) } else { beginning };
    let svg = element.starts_with(b"<svg") && opens(element, b"<svg");
    if svg || opens(if xml { element } else { text }, b"<!doctype svg") {
        return Some(Markup::Svg);
    }
    xml.then_some(Markup::Xml)
}

/// An XML document from its document type or its first element on.
fn behind_prolog(mut document: &[u8]) -> &[u8] {
    loop {
        let end: &[u8] = match document {
            [b'<', b'?', ..] => b"?>",
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            _ => return document,
        };
        let Some(at) = document.windows(end.len()).position(|window| window == end) else { return b"" };
        document = document[at + end.len()..].trim_ascii_start();
    }
}

/// Whether `text` begins with `tag`, and the name in it ends there.
fn opens(text: &[u8], tag: &[u8]) -> bool {
    let begins = text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    begins && text.get(tag.len()).is_some_and(|next| next.is_ascii_whitespace() || matches!(next, b'>' | b'/'))
}

/// What file(1) lets pass: what terminals act on, escape codes among it, and all from 0x80 on.
fn stands_in_text(byte: u8) -> bool {
    matches!(byte, 0x07..=0x0d | 0x1b | b' '..=b'~' | 0x80..)
}

fn is_utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16, whole: bool) -> bool {
    let (pairs, odd) = bytes.as_chunks::<2>();
    let mut characters = char::decode_utf16(pairs.iter().map(|pair| unit(*pair))).peekable();
    while let Some(character) = characters.next() {
        let fits = match character {
            Ok(character) => u8::try_from(character).map_or(true, stands_in_text),
            // The second half of it was cut off.
            Err(_) => !whole && characters.peek().is_none(),
        };
        if !fits {
            return false;
        }
    }
    odd.is_empty() || !whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_with_its_encoding() {
        for (bytes, whole, expect) in [
            (&b""[..], true, Some("utf-8")),
            (b"plain\r\n\ttext \x1b[0m\x0c", true, Some("utf-8")),
            ("Grüße, 世界 🦀".as_bytes(), true, Some("utf-8")),
            (b"\xef\xbb\xbftext", true, Some("utf-8")),
            (b"cut \xf0\x9f\xa6", false, Some("utf-8")),
            (b"cut \xf0\x9f\xa6", true, Some("windows-1252")),
            (b"Stra\xdf", true, Some("iso-8859-1")),
            (b"Gr\xfc\xdfe", true, Some("iso-8859-1")),
            (b"Gr\xfc\xdfe", false, Some("iso-8859-1")),
            (b"\x93words\x94", true, Some("windows-1252")),
            (b"a\x85\xe4b", true, Some("iso-8859-1")),
            (b"\xff\xfeh\0\xe4\0\n\0", true, Some("utf-16le")),
            (b"\xfe\xff\0h\0\xe4\0\n", true, Some("utf-16be")),
            (b"\xff\xfe\x3e\xd8\x80\xdd", true, Some("utf-16le")),
            (b"\xff\xfe\x3e\xd8", false, Some("utf-16le")),
            (b"\xff\xfe\x3e\xd8", true, None),
            (b"\xff\xfe\x3e\xd8a\0", false, None),
            (b"\xff\xfea\0b", false, Some("utf-16le")),
            (b"\xff\xfea\0b", true, None),
            (b"\xff\xfea\0\0\0", true, None),
            (b"a\0b", true, None),
            (b"a\x01b", true, None),
            (b"a\x7fb", true, None),
            (b"\x89PNG\r\n\x1a\n", true, None),
        ] {
            assert_eq!(charset(bytes, whole), expect, "{} {whole}", bytes.escape_ascii());
        }
    }

    #[test]
    fn markup_is_told_by_how_it_begins() {
        for (text, expect) in [
            ("<!doctype html>", "text/html; charset=utf-8"),
            ("\u{feff} \n<!DOCTYPE HTML PUBLIC \"x\">", "text/html; charset=utf-8"),
            ("<HTML lang=en>", "text/html; charset=utf-8"),
            ("<html>é", "text/html; charset=utf-8"),
            ("<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<TITLE>", "text/html; charset=utf-8"),
            ("<svg/>", "image/svg+xml; charset=utf-8"),
            ("<svg\nxmlns='x'>", "image/svg+xml; charset=utf-8"),
            ("<!DOCTYPE svg PUBLIC 'x'><svg>", "image/svg+xml; charset=utf-8"),
            ("<?xml version='1.0'?>\n<!-- <a> --><?x y?>\n<svg>", "image/svg+xml; charset=utf-8"),
            ("\n<!doctype SVG PUBLIC 'x'><svg>", "image/svg+xml; charset=utf-8"),
            ("\u{feff}<?xml version='1.0'?><svg>", "image/svg+xml; charset=utf-8"),
            ("\n<svg/>", "text/plain; charset=utf-8"),
            ("\u{feff}<svg/>", "text/plain; charset=utf-8"),
            ("<SVG/>", "text/plain; charset=utf-8"),
            ("<!-- x --><svg/>", "text/plain; charset=utf-8"),
            ("\n<?xml version='1.0'?><a/>", "text/plain; charset=utf-8"),
            ("\u{feff}<?xml version='1.0'?><a/>", "text/xml; charset=utf-8"),
            ("<?xml version='1.0'?><html>", "text/xml; charset=utf-8"),
            ("<?xml version='1.0'?><rss>", "text/xml; charset=utf-8"),
            ("<?xml version='1.0'?><!-- <svg>", "text/xml; charset=utf-8"),
            ("<?xml ", "text/xml; charset=utf-8"),
            ("<?xml-stylesheet?><svg>", "text/plain; charset=utf-8"),
            ("<!-- x --><html>", "text/plain; charset=utf-8"),
            ("<h1>x</h1>", "text/plain; charset=utf-8"),
            ("<script>alert(1)</script>", "text/plain; charset=utf-8"),
            ("<htmlx>", "text/plain; charset=utf-8"),
            ("<html", "text/plain; charset=utf-8"),
            ("{\"a\": 1}", "text/plain; charset=utf-8"),
            ("", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(media_type(text.as_bytes(), "utf-8"), expect, "{text}");
        }
        for (text, expect) in [
            (&b"<html>\xe4"[..], "text/html"),
            (b"<svg>\xe4", "image/svg+xml"),
            (b"<?xml version='1.0' encoding='iso-8859-1'?><a>\xe4", "text/xml"),
            (b"\xe4", "text/plain; charset=iso-8859-1"),
        ] {
            assert_eq!(media_type(text, "iso-8859-1"), expect, "{}", text.escape_ascii());
        }
        for charset in ["utf-16le", "utf-16be", "windows-1252", "iso-8859-1", "utf-8"] {
            assert_eq!(media_type(b"x", charset), format!("text/plain; charset={charset}"));
        }
    }

    #[test]
    fn a_long_prolog_is_read_once() {
        let comments = [b"<?xml version='1.0'?>", &b"<!---->".repeat(1 << 16)[..], b"<svg>"].concat();
        assert_eq!(media_type(&comments, "utf-8"), "image/svg+xml; charset=utf-8");
    }
}

//! The type of a file, from its name and its first bytes. A name that tells the type has the first word: bytes may only
//! make an image, a sound, a film or a font of it, and of text nothing at all, so that no text becomes a script.

use alloc::vec::Vec;

use crate::magic;
use crate::media_type;
use crate::text;
use crate::tree::{Fault, Tree};

/// As much of a file as is looked at, in bytes.
const BEGINNING: usize = 4096;

/// `name` tells the type of a file, or else the name that it has behind all links, at `path`; and its first bytes. Only
/// what `contents` does not hold already is read.
pub(crate) async fn file(
    tree: &impl Tree,
    name: &str,
    path: &str,
    size: u64,
    contents: Option<Vec<u8>>,
) -> Result<&'static str, Fault> {
    let known = media_type::by_extension(name).or_else(|| media_type::by_extension(path));
    let whole = size <= BEGINNING as u64;
    let beginning = match contents {
        Some(contents) => contents,
        None if whole => tree.contents(path)?,
        None => tree.beginning(path, BEGINNING).await?,
    };
    Ok(media_type(known, &beginning, whole))
}

/// `known` is the type that the name tells; `whole`, whether `beginning` is all there is.
fn media_type(known: Option<&'static str>, beginning: &[u8], whole: bool) -> &'static str {
    // Signatures are short: a text may well begin with one.
    let media = magic::media(beginning).filter(|_| text::charset(beginning, whole).is_none());
    match (media, known) {
        (Some(media), Some(known)) if media.is_also(known) => known,
        (Some(media), _) => media.media_type(),
        (None, Some(known)) => known,
        (None, None) => unnamed(beginning, whole),
    }
}

fn unnamed(beginning: &[u8], whole: bool) -> &'static str {
    let text = || text::charset(beginning, whole).map(|charset| text::media_type(beginning, charset));
    magic::other(beginning).or_else(text).unwrap_or("application/octet-stream")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
    const HTML: &[u8] = b"<!doctype html><script>alert(1)</script>";
    const MP4: &[u8] = b"\0\0\0\x18ftypisom\0\0\x02\0isommp41";
    const OGG: &[u8] = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x1e\x01vorbis\0";
    const TTF: &[u8] = b"\0\x01\0\0\0\x0a\0\x80";

    #[test]
    fn bytes_make_media_of_a_name_and_nothing_else() {
        let text = "text/plain; charset=utf-8";
        for (known, beginning, expect) in [
            (text, PNG, "image/png"),
            ("text/html; charset=utf-8", PNG, "image/png"),
            ("image/jpeg", PNG, "image/png"),
            ("application/octet-stream", MP4, "video/mp4"),
            ("text/css; charset=utf-8", OGG, "audio/ogg"),
            ("application/pdf", TTF, "font/ttf"),
            (text, HTML, text),
            (text, b"<svg xmlns='http://www.w3.org/2000/svg'/>", text),
            ("image/png", HTML, "image/png"),
            ("application/octet-stream", HTML, "application/octet-stream"),
            (text, b"%PDF-1.4\0\x01", text),
            (text, b"PK\x03\x04\0\0\0\0", text),
            (text, b"\0asm\x01\0\0\0", text),
            (text, b"", text),
        ] {
            assert_eq!(media_type(Some(known), beginning, true), expect, "{}", beginning.escape_ascii());
        }
    }

    #[test]
    fn a_name_tells_apart_what_bytes_do_not() {
        for (known, beginning) in [
            ("image/apng", PNG),
            ("audio/mp4", MP4),
            ("video/quicktime", MP4),
            ("video/ogg", OGG),
            ("font/otf", TTF),
            ("image/x-icon", b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0"),
        ] {
            assert_eq!(media_type(Some(known), beginning, true), known);
        }
    }

    #[test]
    fn text_that_begins_as_a_signature_does_is_text() {
        for words in
            ["GIF is a format", "BMW is a car", "ID3 tags", "DSD is sound", "fLaC and Ogg", "OggS\r\n", "\u{ff}\n"]
        {
            assert_eq!(media_type(Some("text/markdown"), words.as_bytes(), true), "text/markdown", "{words}");
            assert_eq!(media_type(None, words.as_bytes(), true), "text/plain; charset=utf-8", "{words}");
        }
        // The letters of a JPEG's beginning, in Latin-1.
        assert_eq!(media_type(Some("text/markdown"), b"\xff\xd8\xff in Latin-1", true), "text/markdown");
    }

    #[test]
    fn without_a_name_bytes_tell_all() {
        for (beginning, expect) in [
            (PNG, "image/png"),
            (HTML, "text/html; charset=utf-8"),
            (b"%PDF-1.4\n", "application/pdf"),
            (b"%PDF-1.4\n\0\x01", "application/pdf"),
            (b"\0asm\x01\0\0\0", "application/wasm"),
            (b"\0asm\x0d\0\x01\0", "application/octet-stream"),
            (b"", "text/plain; charset=utf-8"),
            (b"a\0b", "application/octet-stream"),
        ] {
            assert_eq!(media_type(None, beginning, true), expect, "{}", beginning.escape_ascii());
        }
    }
}

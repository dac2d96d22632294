//! Formats that are not text, told by their first bytes: `infer`'s signatures, under the names that go with the extensions.
//! Where one is so short that other files begin with it too, more is asked of it here.

use infer::{archive, audio, book, doc, font, image, odf, video};

/// An image, audio, video or font format.
pub(crate) struct Media {
    is: fn(&[u8]) -> bool,
    media_type: &'static str,
    /// What a name may call it with equal right: the bytes looked at do not tell them apart.
    also: &'static [&'static str],
}

impl Media {
    pub(crate) fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// Whether a file that is this may be of `known` type as well.
    pub(crate) fn is_also(&self, known: &str) -> bool {
        self.media_type == known || self.also.contains(&known)
    }
}

/// The format that `beginning` is of, if it is an image, a sound, a film or a font.
pub(crate) fn media(beginning: &[u8]) -> Option<&'static Media> {
    MEDIA.iter().find(|format| (format.is)(beginning))
}

/// The type that `beginning` is of, if it is a document, a program or an archive.
pub(crate) fn other(beginning: &[u8]) -> Option<&'static str> {
    OTHERS.iter().find(|(is, _)| is(beginning)).map(|(_, media_type)| *media_type)
}

const fn media_of(is: fn(&[u8]) -> bool, media_type: &'static str, also: &'static [&'static str]) -> Media {
    Media { is, media_type, also }
}

/// The first that matches is it.
const MEDIA: &[Media] = &[
    media_of(image::is_png, "image/png", &["image/apng"]),
    media_of(image::is_jpeg, "image/jpeg", &[]),
    media_of(is_gif, "image/gif", &[]),
    media_of(is_webp, "image/webp", &[]),
    media_of(image::is_avif, "image/avif", &[]),
    media_of(image::is_heif, "image/heic", &["image/heif"]),
    media_of(image::is_jxl, "image/jxl", &[]),
    media_of(image::is_tiff, "image/tiff", &[]),
    media_of(is_bmp, "image/bmp", &[]),
    media_of(is_ico, "image/vnd.microsoft.icon", &["image/x-icon"]),
    media_of(video::is_mp4, "video/mp4", &["audio/mp4", "video/quicktime"]),
    media_of(audio::is_m4a, "audio/mp4", &["video/mp4"]),
    media_of(video::is_m4v, "video/mp4", &[]),
    media_of(is_webm, "video/webm", &["audio/webm", "video/matroska"]),
    media_of(is_matroska, "video/matroska", &["audio/webm", "video/webm"]),
    media_of(video::is_mov, "video/quicktime", &["audio/mp4", "video/mp4"]),
    media_of(video::is_avi, "video/x-msvideo", &[]),
    media_of(video::is_mpeg, "video/mpeg", &[]),
    media_of(audio::is_midi, "audio/midi", &[]),
    media_of(audio::is_mp3, "audio/mpeg", &[]),
    media_of(is_theora, "video/ogg", &["audio/ogg"]),
    media_of(audio::is_ogg, "audio/ogg", &["video/ogg"]),
    media_of(audio::is_flac, "audio/flac", &["audio/ogg"]),
    media_of(audio::is_wav, "audio/wav", &[]),
    media_of(audio::is_aac, "audio/aac", &[]),
    media_of(font::is_woff, "font/woff", &[]),
    media_of(font::is_woff2, "font/woff2", &[]),
    media_of(font::is_ttf, "font/ttf", &["font/otf"]),
    media_of(font::is_otf, "font/otf", &["font/ttf"]),
    media_of(|bytes| bytes.starts_with(b"ttcf\0"), "font/collection", &[]),
];

/// The first that matches is it: what is a zip inside comes before zip. (`infer`'s Zstandard is not among them: on 32 bits
/// a length that wraps sends it round for ever.)
const OTHERS: &[(fn(&[u8]) -> bool, &str)] = &[
    (|bytes| bytes.starts_with(b"%PDF-"), "application/pdf"),
    (|bytes| bytes.starts_with(b"{\\rtf"), "application/rtf"),
    (infer::app::is_wasm, "application/wasm"),
    (book::is_epub, "application/epub+zip"),
    (odf::is_odt, "application/vnd.oasis.opendocument.text"),
    (odf::is_ods, "application/vnd.oasis.opendocument.spreadsheet"),
    (odf::is_odp, "application/vnd.oasis.opendocument.presentation"),
    (doc::is_docx, "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (doc::is_xlsx, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (doc::is_pptx, "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
    (archive::is_zip, "application/zip"),
    (archive::is_tar, "application/x-tar"),
    (is_old_tar, "application/x-tar"),
    (|bytes| bytes.starts_with(b"!<arch>\ndebian-binary"), "application/vnd.debian.binary-package"),
    // Where it says itself what it is (RFC 8949, section 3.4.6).
    (|bytes| bytes.starts_with(b"\xd9\xd9\xf7"), "application/cbor"),
    (archive::is_gz, "application/gzip"),
    (|bytes| bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY"), "application/x-bzip2"),
    (archive::is_xz, "application/x-xz"),
    (archive::is_rar, "application/vnd.rar"),
    (archive::is_7z, "application/x-7z-compressed"),
    (|bytes| bytes.starts_with(b"\x28\xb5\x2f\xfd"), "application/zstd"),
];

fn is_gif(bytes: &[u8]) -> bool {
    bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a")
}

fn is_webp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"RIFF") && image::is_webp(bytes)
}

/// With the four bytes that are reserved, and zero.
fn is_bmp(bytes: &[u8]) -> bool {
    image::is_bmp(bytes) && bytes.get(6..10) == Some(&[0; 4])
}

/// With an image in it, whose reserved byte is zero.
fn is_ico(bytes: &[u8]) -> bool {
    image::is_ico(bytes) && bytes.get(4..6).is_some_and(|count| count != [0, 0]) && bytes.get(9) == Some(&0)
}

fn is_webm(bytes: &[u8]) -> bool {
    video::is_webm(bytes) || is_ebml(bytes, b"\x42\x82\x84webm")
}

fn is_matroska(bytes: &[u8]) -> bool {
    video::is_mkv(bytes) || is_ebml(bytes, b"\x42\x82\x88matroska")
}

/// A document (RFC 8794) whose head has this element: writers put it in several places.
fn is_ebml(bytes: &[u8], kind: &[u8]) -> bool {
    let head = bytes.get(..64).unwrap_or(bytes);
    head.starts_with(b"\x1aE\xdf\xa3") && head.windows(kind.len()).any(|element| element == kind)
}

/// As it was before POSIX: nothing but the sum of its header, in which the sum itself counts as spaces.
fn is_old_tar(bytes: &[u8]) -> bool {
    let Some((header, said)) = bytes.get(..512).and_then(|header| Some((header, header.get(148..156)?))) else {
        return false;
    };
    let said = said.trim_ascii_start();
    let digits = said.iter().position(|byte| !matches!(byte, b'0'..=b'7')).unwrap_or(said.len());
    let said = said[..digits].iter().fold(0, |sum, digit| sum * 8 + u32::from(digit - b'0'));
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    digits > 0 && bytes[0] != 0 && said == sum(&header[..148]) + 8 * u32::from(b' ') + sum(&header[156..])
}

/// The first stream in an Ogg file is a film.
fn is_theora(bytes: &[u8]) -> bool {
    audio::is_ogg(bytes) && bytes.get(28..35) == Some(b"\x80theora")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_signatures_alone_are_not_enough() {
        for (beginning, expect) in [
            (&b"GIF89a\x01\0"[..], Some("image/gif")),
            (b"GIF\0\x01", None),
            (b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0", Some("image/bmp")),
            (b"BM\x3a\0\0\0\x01", None),
            (b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0", Some("image/vnd.microsoft.icon")),
            (b"\0\0\x01\0\0\0\x10\x10\0\0\x01\0", None),
            (b"\0\0\x01\0", None),
            (b"RIFF\x1a\0\0\0WEBPVP8L", Some("image/webp")),
            (b"RIFX\x1a\0\0\0WEBPVP8L", None),
            (b"\x1aE\xdf\xa3\x8bB\x82\x88matroska", Some("video/matroska")),
            (b"\x1aE\xdf\xa3\x8bB\x86\x81\x01B\x82\x84webm", Some("video/webm")),
            (b"\x1aE\xdf\xa3\x8bB\x82\x84mpeg", None),
            (b"ttcf\0\x01\0\0", Some("font/collection")),
        ] {
            assert_eq!(media(beginning).map(Media::media_type), expect, "{}", beginning.escape_ascii());
        }
    }

    #[test]
    fn a_film_in_ogg_is_not_a_sound() {
        let ogg = |codec: &[u8]| [b"OggS\0\x02", &[0; 22][..], codec].concat();
        for (codec, expect) in
            [(&b"\x80theora\x03"[..], "video/ogg"), (b"\x01vorbis\0", "audio/ogg"), (b"OpusHead", "audio/ogg")]
        {
            assert_eq!(media(&ogg(codec)).map(Media::media_type), Some(expect));
        }
    }

    #[test]
    fn a_tar_is_told_by_its_sum() {
        let mut header = [0; 512];
        for (at, field) in [(0, &b"a.txt"[..]), (100, b"0000644"), (124, b"00000000006")] {
            header[at..at + field.len()].copy_from_slice(field);
        }
        header[155] = b' ';
        let sum = header.iter().enumerate().filter(|(at, _)| !(148..156).contains(at));
        let sum = sum.map(|(_, byte)| u32::from(*byte)).sum::<u32>() + 256;
        header[148..154].copy_from_slice(alloc::format!("{sum:06o}").as_bytes());
        assert_eq!(other(&header), Some("application/x-tar"));
        assert_eq!(other(&header[..511]), None);
        header[0] ^= 1;
        assert_eq!(other(&header), None);
        assert_eq!(other(&[0; 512]), None);
    }

    /// Whatever bytes come, no signature reads beyond them or goes on for ever.
    #[test]
    fn any_bytes_are_looked_at() {
        let begins: [&[u8]; 8] =
            [b"", b"PK\x03\x04", b"\0\0\0\x18ftyp", b"RIFF", b"OggS", b"\x1aE\xdf\xa3", b"BM", b"\0asm"];
        for begin in begins {
            for fill in [0, 1, b' ', b'P', 0x7f, 0xff] {
                for length in 0..600 {
                    let bytes = [begin, &vec![fill; length][..]].concat();
                    let _ = (media(&bytes), other(&bytes));
                }
            }
        }
        let mut docx = [b"PK\x03\x04", &[0xff; 26][..], b"[Content_Types].xml"].concat();
        for length in 0..200 {
            docx.extend([b'P', b'K', 3, 4].iter().cycle().take(length));
            let _ = other(&docx);
        }
    }

    #[test]
    fn names_and_bytes_call_a_format_alike() {
        let known = |media_type: &str| crate::media_type::ALL.iter().any(|(_, known)| *known == media_type);
        for Media { media_type, also, .. } in MEDIA {
            assert!(known(media_type) || also.iter().any(|also| known(also)), "{media_type}");
            assert!(also.iter().all(|also| known(also)), "{media_type}");
        }
        for (_, media_type) in OTHERS {
            assert!(known(media_type), "{media_type}");
        }
    }
}

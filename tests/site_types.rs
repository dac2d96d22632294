//! The types of a site's files, beside what file(1) says of the same bytes.

use std::process::Command;

use crate::support::{git::Item, guests::root, host::Setup, skip, tables};

/// A kind of file: its extension, and the bytes of a small one.
type Kind = (&'static str, Vec<u8>);

/// Where our answer is not file(1)'s: the path (with its extension, and without), ours, and file's. Why is in the README.
const DIFFERENT: [(&str, &str, &str); 82] = [
    ("a.aac", "audio/aac", "audio/x-hx-aac-adts"),
    ("a.asc", "text/plain; charset=utf-8", "application/pgp-keys"),
    ("a.atom", "application/atom+xml; charset=utf-8", "text/xml"),
    ("a.css", "text/css; charset=utf-8", "text/plain"),
    ("a.eml", "text/plain; charset=utf-8", "message/rfc822"),
    ("a.geojson", "application/geo+json; charset=utf-8", "application/json"),
    ("a.gpx", "application/gpx+xml; charset=utf-8", "text/xml"),
    ("a.ico", "image/x-icon", "image/vnd.microsoft.icon"),
    ("a.js", "text/javascript; charset=utf-8", "application/javascript"),
    ("a.m3u8", "application/vnd.apple.mpegurl", "text/plain"),
    ("a.m4a", "audio/mp4", "audio/x-m4a"),
    ("a.md", "text/markdown; charset=utf-8", "text/plain"),
    ("a.mk", "text/plain; charset=utf-8", "text/x-makefile"),
    ("a.mkv", "video/matroska", "video/x-matroska"),
    ("a.otf", "font/otf", "application/vnd.ms-opentype"),
    ("a.pem", "application/x-pem-file", "text/plain"),
    ("a.php", "text/plain; charset=utf-8", "text/x-php"),
    ("a.py", "text/x-python; charset=utf-8", "text/x-script.python"),
    ("a.rar", "application/vnd.rar", "application/x-rar"),
    ("a.rs", "text/x-rust; charset=utf-8", "text/x-c"),
    ("a.rss", "application/rss+xml; charset=utf-8", "text/xml"),
    ("a.rtf", "application/rtf", "text/rtf"),
    ("a.sqlite", "application/octet-stream", "application/vnd.sqlite3"),
    ("a.toml", "application/toml", "text/plain"),
    ("a.tsv", "text/tab-separated-values; charset=utf-8", "text/plain"),
    ("a.ttc", "font/collection", "font/ttf"),
    ("a.ttf", "font/ttf", "font/sfnt"),
    ("a.wav", "audio/wav", "audio/x-wav"),
    ("a.webmanifest", "application/manifest+json; charset=utf-8", "application/json"),
    ("a.xhtml", "application/xhtml+xml; charset=utf-8", "text/xml"),
    ("a.xml", "application/xml; charset=utf-8", "text/xml"),
    ("a.yaml", "application/yaml", "text/plain"),
    ("bare/aac", "audio/aac", "audio/x-hx-aac-adts"),
    ("bare/asc", "text/plain; charset=utf-8", "application/pgp-keys"),
    ("bare/c", "text/plain; charset=utf-8", "text/x-c"),
    ("bare/csv", "text/plain; charset=utf-8", "text/csv"),
    ("bare/diff", "text/plain; charset=utf-8", "text/x-diff"),
    ("bare/eml", "text/plain; charset=utf-8", "message/rfc822"),
    ("bare/geojson", "text/plain; charset=utf-8", "application/json"),
    ("bare/ics", "text/plain; charset=utf-8", "text/calendar"),
    ("bare/jar", "application/zip", "application/java-archive"),
    ("bare/js", "text/plain; charset=utf-8", "application/javascript"),
    ("bare/json", "text/plain; charset=utf-8", "application/json"),
    ("bare/m4a", "audio/mp4", "audio/x-m4a"),
    ("bare/mk", "text/plain; charset=utf-8", "text/x-makefile"),
    ("bare/mkv", "video/matroska", "video/x-matroska"),
    ("bare/otf", "font/otf", "application/vnd.ms-opentype"),
    ("bare/php", "text/plain; charset=utf-8", "text/x-php"),
    ("bare/ps", "text/plain; charset=utf-8", "application/postscript"),
    ("bare/py", "text/plain; charset=utf-8", "text/x-script.python"),
    ("bare/rar", "application/vnd.rar", "application/x-rar"),
    ("bare/rs", "text/plain; charset=utf-8", "text/x-c"),
    ("bare/rtf", "application/rtf", "text/rtf"),
    ("bare/sh", "text/plain; charset=utf-8", "text/x-shellscript"),
    ("bare/sqlite", "application/octet-stream", "application/vnd.sqlite3"),
    ("bare/srt", "text/plain; charset=utf-8", "application/x-subrip"),
    ("bare/tex", "text/plain; charset=utf-8", "text/x-tex"),
    ("bare/ttc", "font/collection", "font/ttf"),
    ("bare/ttf", "font/ttf", "font/sfnt"),
    ("bare/vcf", "text/plain; charset=utf-8", "text/vcard"),
    ("bare/vtt", "text/plain; charset=utf-8", "text/vtt"),
    ("bare/wav", "audio/wav", "audio/x-wav"),
    ("bare/webmanifest", "text/plain; charset=utf-8", "application/json"),
    ("odd/apng.apng", "image/apng", "image/png"),
    ("odd/component.wasm", "application/wasm", "application/octet-stream"),
    ("odd/empty", "text/plain; charset=utf-8", "inode/x-empty"),
    ("odd/html-comment", "text/plain; charset=utf-8", "text/html"),
    ("odd/html-title", "text/plain; charset=utf-8", "text/html"),
    ("odd/lines.json", "application/json; charset=utf-8", "application/x-ndjson"),
    ("odd/node", "text/plain; charset=utf-8", "application/javascript"),
    ("odd/one", "text/plain; charset=utf-8", "application/octet-stream"),
    ("odd/perl", "text/plain; charset=utf-8", "text/x-perl"),
    ("odd/python", "text/plain; charset=utf-8", "text/x-script.python"),
    ("odd/svg-comment.svg", "image/svg+xml; charset=utf-8", "text/plain"),
    ("odd/svg-far.svg", "image/svg+xml; charset=utf-8", "text/xml"),
    ("odd/svg-prolog-marked", "image/svg+xml; charset=utf-8", "text/xml"),
    ("odd/svg-within", "text/xml; charset=utf-8", "image/svg+xml"),
    ("odd/xhtml-strict.html", "text/html; charset=utf-8", "text/xml"),
    ("odd/xhtml.html", "text/html; charset=utf-8", "text/xml"),
    ("wrong/html.txt", "text/plain; charset=utf-8", "text/html"),
    ("wrong/pdf.txt", "text/plain; charset=utf-8", "application/pdf"),
    ("wrong/svg.txt", "text/plain; charset=utf-8", "image/svg+xml"),
];

#[tokio::test]
async fn types_are_those_of_file() {
    if skip::missing(&["file"]) {
        return;
    }
    let setup = Setup::new(&tables::site("site"));
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (extension, bytes) in kinds() {
        files.push((format!("a.{extension}"), bytes.clone()));
        files.push((format!("bare/{extension}"), bytes.clone()));
        match extension {
            // More than is looked at.
            "png" | "mp4" | "tar" => {
                files.push((format!("long/{extension}"), [&bytes[..], &vec![0; 100_000]].concat()));
            }
            "html" | "svg" | "pdf" => files.push((format!("wrong/{extension}.txt"), bytes.clone())),
            _ => {}
        }
        if ["png", "gif", "mp3", "woff2"].contains(&extension) {
            files.push((format!("wrong/{extension}.html"), [&bytes[..], &vec![0; 10_000]].concat()));
        }
    }
    files.extend(odd().into_iter().map(|(path, bytes)| (path.to_owned(), bytes)));
    files.push(("bare/v7".into(), tar(b"")));
    let bookmarks =
        "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<TITLE>Bookmarks</TITLE>\n<H1>Bookmarks</H1>\n<DL><p>\n</DL><p>\n";
    files.push(("bare/bookmarks".into(), bookmarks.into()));
    let long = "Zürich ".repeat(2000);
    for (name, bytes) in [
        ("utf-8", "Grüße\n".into()),
        ("utf-8-long", long.clone().into_bytes()),
        ("utf-8-marked", "\u{feff}Grüße\n".into()),
        ("utf-16le", utf_16("Grüße\n", u16::to_le_bytes)),
        ("utf-16be", utf_16("Grüße\n", u16::to_be_bytes)),
        ("utf-16le-long", utf_16(&long, u16::to_le_bytes)),
        ("latin-1", long.chars().map(|c| u8::try_from(c).unwrap()).collect()),
        ("binary", b"a\0\x01\x02".repeat(2000)),
    ] {
        files.push((format!("text/{name}"), bytes));
    }
    let items: Vec<(&str, Item<'_>)> = files.iter().map(|(path, bytes)| (&**path, Item::File(bytes))).collect();
    setup.repository("site").commit_items("main", &items);
    let host = setup.start().await;

    let mut different: Vec<&str> = Vec::new();
    for (path, bytes) in &files {
        let on_disk = host.setup().write("looked-at", bytes);
        let (file, encoding) = (file("--mime-type", &on_disk), file("--mime-encoding", &on_disk));
        let reply = host.client().get(&format!("https://localhost/{path}")).await;
        assert_eq!((reply.status.as_u16(), reply.body == *bytes), (200, true), "{path}");
        let ours = reply.field("content-type").unwrap();
        if let Some((path, expected, files)) = DIFFERENT.iter().find(|(other, ..)| other == path) {
            assert_eq!((ours, &*file), (*expected, *files), "{path}");
            different.push(path);
            continue;
        }
        let (essence, charset) = ours.split_once("; charset=").map_or((ours, None), |(a, b)| (a, Some(b)));
        assert_eq!(essence, file, "{path}");
        // ASCII is UTF-8 too.
        let encoding = if encoding == "us-ascii" { "utf-8" } else { &encoding };
        let says = ["text/", "json", "xml"].iter().any(|part| essence.contains(part));
        assert_eq!(charset, (encoding != "binary" && says).then_some(encoding), "{path}");
    }
    assert_eq!(different.len(), DIFFERENT.len(), "{different:?}");
}

/// In one row of its table.
#[test]
fn the_readme_has_each_difference() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for (path, ours, files) in DIFFERENT {
        let (ours, files) = (format!("`{}`", ours.split(';').next().unwrap()), format!("`{files}`"));
        let has =
            |row: &str| row.split('|').skip(2).take(2).zip([&ours, &files]).all(|(cell, kind)| cell.contains(kind));
        assert!(readme.lines().filter(|line| line.starts_with('|')).any(has), "{path}: {ours} {files}");
    }
}

fn file(what: &str, path: &std::path::Path) -> String {
    let output = Command::new("file").args(["--brief", what]).arg(path).output().expect("file is installed");
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn utf_16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
}

fn kinds() -> Vec<Kind> {
    let text = |text: &str| text.as_bytes().to_vec();
    let filled = |parts: &[&[u8]], length: usize| {
        let mut bytes = parts.concat();
        bytes.resize(length, 0);
        bytes
    };
    let ogg = filled(&[b"OggS\0\x02", &[0; 8], b"\x01", &[0; 11], b"\x01\x1e\x01vorbis\0\0\0\0\x02\x44\xac"], 100);
    vec![
        ("html", text("<!doctype html>\n<title>x</title>\n<script>alert(1)</script>\n")),
        ("svg", text("<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n")),
        ("png", filled(&[b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"], 60)),
        ("jpeg", bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xd9")),
        ("gif", bytes(b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;")),
        ("webp", bytes(b"RIFF\x1a\0\0\0WEBPVP8L\r\0\0\0/\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0")),
        ("avif", bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\0\0")),
        ("ico", filled(&[b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0\x68\x04\0\0\x16\0\0\0\x28\0\0\0\x10"], 200)),
        ("woff2", filled(&[b"wOF2\0\x01\0\0\0\0\0\x64\0\x01"], 100)),
        ("woff", filled(&[b"wOFF\0\x01\0\0\0\0\0\x64\0\x01"], 100)),
        ("ttf", filled(&[b"\0\x01\0\0\0\x0a\0\x80\0\x03\0\x20OS/2"], 100)),
        ("otf", filled(&[b"OTTO\0\x0a\0\x80\0\x03\0\x20CFF "], 100)),
        ("pdf", text("%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer <<>>\n%%EOF\n")),
        ("mp4", bytes(b"\0\0\0\x18ftypisom\0\0\x02\0isommp41\0\0\0\x08free")),
        ("webm", filled(&[b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm"], 400)),
        ("mp3", filled(&[b"ID3\x04\0\0\0\0\0\x0aTIT2\0\0\0\0\0\0\xff\xfb\x90\x64"], 300)),
        ("ogg", ogg),
        ("wasm", bytes(b"\0asm\x01\0\0\0")),
        ("json", text("{\"a\": [1, 2, null]}\n")),
        ("rss", text("<?xml version=\"1.0\"?>\n<rss version=\"2.0\"><channel/></rss>\n")),
        ("atom", text("<?xml version=\"1.0\"?>\n<feed xmlns=\"http://www.w3.org/2005/Atom\"/>\n")),
        ("xml", text("<?xml version=\"1.0\"?>\n<a/>\n")),
        ("css", text("body { color: red; }\n@media print { a { color: black } }\n")),
        ("js", text("import x from \"y\";\nexport function f() { return 1; }\nconst a = () => document.title;\n")),
        ("csv", text("a,b,c\n1,2,3\n4,5,6\n")),
        ("sh", text("#!/bin/sh\nls\n")),
        ("txt", text("words\n")),
        ("gz", bytes(b"\x1f\x8b\x08\0\0\0\0\0\x02\xff\xab\0\0\x83\x16\xdc\x8c\x01\0\0\0")),
        (
            "zip",
            filled(&[b"PK\x03\x04\x14\0\0\0\0\0\0\0\x21\0\x83\x16\xdc\x8c\x01\0\0\0\x01\0\0\0\x05\0\0\0a.txtx"], 60),
        ),
        ("tar", tar(b"ustar\x0000")),
        ("xz", bytes(b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4F")),
        ("bz2", filled(&[b"BZh91AY&SY"], 40)),
        ("7z", filled(&[b"7z\xbc\xaf'\x1c\0\x04"], 40)),
        ("zst", filled(&[b"\x28\xb5\x2f\xfd\x04\0\x09\0\0x\n"], 40)),
        ("rar", filled(&[b"Rar!\x1a\x07\x01\0"], 40)),
        ("jar", filled(&[b"PK\x03\x04\x14\0\x08\x08\x08", &[0; 17], b"\x14\0\x04\0META-INF/MANIFEST.MF\xfe\xca"], 80)),
        ("deb", text("!<arch>\ndebian-binary   1             0     0     100644  4         `\n2.0\n")),
        ("bmp", filled(&[b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\x18"], 80)),
        ("tiff", filled(&[b"II*\0\x08"], 20)),
        ("jxl", bytes(b"\xff\x0a\xfa\x1f\x41")),
        ("heic", bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")),
        ("flac", filled(&[b"fLaC\0\0\0\x22\x10\0\x10"], 50)),
        ("opus", filled(&[b"OggS\0\x02", &[0; 8], b"\x01", &[0; 11], b"\x01\x13OpusHead\x01\x02\x38\x01\x80\xbb"], 60)),
        ("mid", filled(&[b"MThd\0\0\0\x06\0\x01\0\x01\0\x60MTrk"], 30)),
        ("mov", bytes(b"\0\0\0\x14ftypqt  \0\0\x02\0qt  \0\0\0\x08wide")),
        ("m4a", bytes(b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42")),
        ("aac", bytes(b"\xff\xf1\x50\x80\x01\x1f\xfc")),
        (
            "mkv",
            filled(&[b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x88matroska"], 90),
        ),
        ("ttc", filled(&[b"ttcf\0\x01\0\0\0\0\0\x01\0\0\0\x0c"], 50)),
        ("cbor", bytes(b"\xd9\xd9\xf7\xa1aa\x01")),
        ("sqlite", filled(&[b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20"], 100)),
        ("xhtml", text("<?xml version=\"1.0\"?>\n<html xmlns=\"http://www.w3.org/1999/xhtml\"><body/></html>\n")),
        ("md", text("# Title\n\nwords\n")),
        ("tsv", text("a\tb\n1\t2\n")),
        ("geojson", text("{\"type\": \"FeatureCollection\", \"features\": []}\n")),
        ("webmanifest", text("{\"name\": \"x\"}\n")),
        ("toml", text("[a]\nb = \"c\"\n")),
        ("yaml", text("a: 1\nb:\n  - c\n")),
        ("ics", text("BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n")),
        ("vcf", text("BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n")),
        ("vtt", text("WEBVTT\n\n00:00.000 --> 00:01.000\nx\n")),
        ("srt", text("1\n00:00:00,000 --> 00:00:01,000\nx\n")),
        ("m3u8", text("#EXTM3U\n#EXT-X-VERSION:3\n")),
        ("gpx", text("<?xml version=\"1.0\"?>\n<gpx xmlns=\"http://www.topografix.com/GPX/1/1\"/>\n")),
        ("pem", text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")),
        ("asc", text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n")),
        ("ps", text("%!PS-Adobe-3.0\n")),
        ("rtf", text("{\\rtf1\\ansi x}\n")),
        ("py", text("#!/usr/bin/env python3\nimport os\nprint(\"x\")\n")),
        ("c", text("#include <stdio.h>\nint main(void) { return 0; }\n")),
        ("rs", text("use std::io;\nfn main() {}\n")),
        ("tex", text("\\documentclass{article}\n\\begin{document}\nx\n\\end{document}\n")),
        ("diff", text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")),
        ("php", text("<?php\necho 1;\n")),
        ("mk", text("all: x\n\tcc x.c\n\nx: y\n\techo\n")),
        ("eml", text("From: a@b\nTo: c@d\nSubject: x\nDate: Mon, 1 Jan 2024 00:00:00 +0000\n\nx\n")),
        ("wav", bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0")),
    ]
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// What is told by more than how it begins, or is not: with its name where that matters.
fn odd() -> Vec<(&'static str, Vec<u8>)> {
    const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n";
    const XHTML: &str = "<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>x</title></head><body/></html>\n";
    let xml = "<?xml version=\"1.0\"?>\n";
    let strict = "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" \"x\">\n";
    let drawn = "<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"x\">\n";
    let long = format!("<!-- {} -->\n", "x".repeat(5000));
    let text = |parts: &[&str]| parts.concat().into_bytes();
    vec![
        ("odd/xhtml.html", text(&[xml, XHTML])),
        ("odd/xhtml-strict.html", text(&[xml, strict, XHTML])),
        ("odd/xhtml-bare", text(&[XHTML])),
        ("odd/xhtml-strict", text(&[strict, XHTML])),
        ("odd/xhtml-prolog", text(&[xml, strict, XHTML])),
        ("odd/html-comment", text(&["<!-- x -->\n<!doctype html>\n<html></html>\n"])),
        ("odd/html-blank", text(&["\n <!doctype html>\n"])),
        ("odd/html-marked", text(&["\u{feff}<html>\n"])),
        ("odd/html-fragment", text(&["<h1>x</h1>\n"])),
        ("odd/html-title", text(&["<title>x</title>\n"])),
        ("odd/svg-plain", text(&[SVG])),
        ("odd/svg-type", text(&[drawn, SVG])),
        ("odd/svg-prolog-type", text(&[xml, drawn, SVG])),
        ("odd/svg-prolog-comment", text(&[xml, "<!-- Generator -->\n", SVG])),
        ("odd/svg-prolog-comment.svg", text(&[xml, "<!-- Generator -->\n", SVG])),
        ("odd/svg-comment", text(&["<!-- Generator -->\n", SVG])),
        ("odd/svg-comment.svg", text(&["<!-- Generator -->\n", SVG])),
        ("odd/svg-blank", text(&["\n", SVG])),
        ("odd/svg-upper", text(&["<SVG>\n"])),
        ("odd/svg-marked", text(&["\u{feff}", SVG])),
        ("odd/svg-prolog-marked", text(&["\u{feff}", xml, SVG])),
        ("odd/svg-far", text(&[xml, &long, SVG])),
        ("odd/svg-far.svg", text(&[xml, &long, SVG])),
        ("odd/svg-within", text(&[xml, "<rss>", SVG, "</rss>\n"])),
        ("odd/xml-blank", text(&["\n", xml, "<a/>\n"])),
        ("odd/xml-marked", text(&["\u{feff}", xml, "<a/>\n"])),
        ("odd/component", b"\0asm\x0d\0\x01\0".to_vec()),
        ("odd/component.wasm", b"\0asm\x0d\0\x01\0".to_vec()),
        ("odd/python", text(&["import os\n\ndef main():\n    print(1)\n\nif __name__ == \"__main__\":\n    main()\n"])),
        ("odd/node", text(&["#!/usr/bin/env node\nconsole.log(1)\n"])),
        ("odd/perl", text(&["#!/usr/bin/perl\nprint 1;\n"])),
        ("odd/lines.json", text(&["{\"a\": 1}\n{\"b\": 2}\n"])),
        ("odd/empty", Vec::new()),
        ("odd/one", text(&["x"])),
        ("odd/mp3", [b"\xff\xfb\x90\x64", &[0; 413][..]].concat().repeat(3)),
        ("odd/apng.apng", apng()),
    ]
}

fn apng() -> Vec<u8> {
    let head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\x08acTL";
    [&head[..], &[0; 20]].concat()
}

/// A header as POSIX has it with this magic, or as it was before, and no file behind it.
fn tar(magic: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 10_240];
    for (at, field) in [
        (0, &b"a.txt"[..]),
        (100, b"0000644"),
        (108, b"0000000"),
        (116, b"0000000"),
        (124, b"00000000000"),
        (136, b"00000000000"),
        (148, b"        "),
        (156, b"0"),
        (257, magic),
    ] {
        header[at..at + field.len()].copy_from_slice(field);
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

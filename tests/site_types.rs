//! The types of a site's files, beside what file(1) says of the same bytes.

use std::process::Command;

use crate::support::{git::Item, host::Setup, skip, tables};

/// A kind of file: its extension, and the bytes of a small one.
type Kind = (&'static str, Vec<u8>);

/// Where our answer is not file(1)'s: the path (with its extension, and without), ours, and file's. Why is in the README.
const DIFFERENT: [(&str, &str, &str); 19] = [
    ("a.atom", "application/atom+xml; charset=utf-8", "text/xml"),
    ("a.css", "text/css; charset=utf-8", "text/plain"),
    ("a.ico", "image/x-icon", "image/vnd.microsoft.icon"),
    ("a.js", "text/javascript; charset=utf-8", "application/javascript"),
    ("a.otf", "font/otf", "application/vnd.ms-opentype"),
    ("a.rss", "application/rss+xml; charset=utf-8", "text/xml"),
    ("a.ttf", "font/ttf", "font/sfnt"),
    ("a.wav", "audio/wav", "audio/x-wav"),
    ("a.xml", "application/xml; charset=utf-8", "text/xml"),
    ("bare/csv", "text/plain; charset=utf-8", "text/csv"),
    ("bare/js", "text/plain; charset=utf-8", "application/javascript"),
    ("bare/json", "text/plain; charset=utf-8", "application/json"),
    ("bare/otf", "font/otf", "application/vnd.ms-opentype"),
    ("bare/sh", "text/plain; charset=utf-8", "text/x-shellscript"),
    ("bare/ttf", "font/ttf", "font/sfnt"),
    ("bare/wav", "audio/wav", "audio/x-wav"),
    // A name that is not the bytes'.
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
        assert_eq!(
            charset,
            (encoding != "binary").then_some(encoding).filter(|_| essence != "application/pdf"),
            "{path}"
        );
    }
    assert_eq!(different.len(), DIFFERENT.len(), "{different:?}");
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
        ("wav", bytes(b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0")),
    ]
}

fn bytes(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
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

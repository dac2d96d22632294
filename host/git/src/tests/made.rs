//! Packs that are made byte by byte, as no program makes them.

use gix::{
    hash::{Kind as HashKind, hasher},
    zlib::{Compression, stream::deflate},
};

/// A pack that ends as it should.
pub(super) fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut hash = hasher(HashKind::Sha1);
    hash.update(&bytes);
    bytes.extend(hash.try_finalize().unwrap().as_bytes());
    bytes
}

/// A pack of these entries: the kind, the size that it says it has, what stands between, and what is deflated.
pub(super) fn pack(count: u32, entries: &[(u8, u64, &[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = [b"PACK\0\0\0\x02", &count.to_be_bytes()[..]].concat();
    for &(kind, mut size, between, contents) in entries {
        let mut byte = kind << 4 | u8::try_from(size & 15).unwrap();
        size >>= 4;
        while size > 0 {
            bytes.push(byte | 0x80);
            byte = u8::try_from(size & 0x7f).unwrap();
            size >>= 7;
        }
        bytes.push(byte);
        bytes.extend_from_slice(between);
        bytes.extend(deflated(contents));
    }
    sealed(bytes)
}

/// A pack of so many blobs of four bytes.
pub(super) fn tiny(count: u32) -> Vec<u8> {
    let mut bytes = [b"PACK\0\0\0\x02", &count.to_be_bytes()[..]].concat();
    for at in 0..count {
        // In zlib's frame as they are: the sum of Adler-32 over them is the end of it.
        let contents = at.to_be_bytes();
        let (one, two) = contents.iter().fold((1_u32, 0_u32), |(one, two), byte| {
            let one = one + u32::from(*byte);
            (one, two + one)
        });
        bytes.extend([0x34, 0x78, 0x01, 0x01, 4, 0, 0xfb, 0xff]);
        bytes.extend(contents);
        bytes.extend((two << 16 | one).to_be_bytes());
    }
    sealed(bytes)
}

pub(super) fn deflated(contents: &[u8]) -> Vec<u8> {
    let mut compress = deflate::Compress::new(Compression::BEST_SPEED);
    let mut out = vec![0; contents.len() + 1024];
    compress.compress(contents, &mut out, deflate::FlushCompress::Finish).unwrap();
    out.truncate(usize::try_from(compress.total_out()).unwrap());
    out
}

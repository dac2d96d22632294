//! Content codings: the encoding itself. Which one, and whether, is said elsewhere.

use std::io::Write as _;

use atoll_semantics::coding::Coding;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// An encoding that doesn't save an eighth is not worth a client's time.
const WORTH: (usize, usize) = (7, 8);
/// Made once and sent many times, so above what a streaming encoder would choose; 9 and more cost a second a megabyte.
const BROTLI_QUALITY: i32 = 7;
/// The largest window that every decoder has to have is 24; a body here is 1 MiB at most.
const BROTLI_WINDOW: i32 = 20;

/// The encoded bytes, where they are worth it. Takes some 20 ms a megabyte and more: not for an event loop.
pub(super) fn encode(body: &[u8], coding: Coding) -> Option<Bytes> {
    let encoded = match coding {
        Coding::Identity => return None,
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: body.len(),
                ..Default::default()
            };
            let mut encoded = Vec::with_capacity(body.len() / 3);
            brotli::BrotliCompress(&mut &*body, &mut encoded, &parameters).expect("memory takes what is written");
            encoded
        }
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::new(6));
            encoder.write_all(body).and_then(|()| encoder.finish()).expect("memory takes what is written")
        }
    };
    (encoded.len() <= body.len() / WORTH.1 * WORTH.0).then(|| Bytes::from(encoded.into_boxed_slice()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use atoll_semantics::coding::Coding;

    use super::encode;

    #[test]
    fn encoded_bytes_decode_to_what_they_were() {
        let body = "one and the same line\n".repeat(1000).into_bytes();
        let gzip = encode(&body, Coding::Gzip).unwrap();
        let mut decoded = Vec::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_end(&mut decoded).unwrap();
        assert_eq!(decoded, body);
        let brotli = encode(&body, Coding::Brotli).unwrap();
        let mut decoded = Vec::new();
        brotli::Decompressor::new(&brotli[..], 4096).read_to_end(&mut decoded).unwrap();
        assert_eq!(decoded, body);
        assert!(brotli.len() < gzip.len() && gzip.len() < body.len() / 10);
        assert_eq!(encode(&body, Coding::Gzip).unwrap(), gzip, "the same bytes each time");
    }

    #[test]
    fn what_does_not_shrink_is_not_encoded() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(4096)
        .collect();
        assert_eq!(encode(&noise, Coding::Gzip), None);
        assert_eq!(encode(&noise, Coding::Brotli), None);
        assert_eq!(encode(b"text", Coding::Identity), None);
    }
}

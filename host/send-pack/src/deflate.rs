//! A zlib compressor that is used again and again, since making one costs more than a small object does.

use std::io::{self, Write};

use gix::zlib::{
    Compression,
    stream::deflate::{Compress, FlushCompress},
};

/// Compresses one stream after another.
pub struct Deflate {
    state: Compress,
    buffer: Vec<u8>,
}

impl Deflate {
    /// By zlib's `level`.
    pub fn new(level: Compression) -> Self {
        Self { state: Compress::new(level), buffer: vec![0; 32 * 1024] }
    }

    /// A new stream, whatever became of the last one.
    pub fn begin(&mut self) {
        self.state.reset();
    }

    /// What the stream takes so far, compressed.
    pub fn length(&self) -> u64 {
        self.state.total_out()
    }

    /// The next bytes of the stream, to `to`; with [`FlushCompress::Finish`] the last ones.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn part(&mut self, mut bytes: &[u8], flush: FlushCompress, to: &mut impl Write) -> io::Result<()> {
        let state = &mut self.state;
        loop {
            let (before_in, before_out) = (state.total_in(), state.total_out());
            state.compress(bytes, &mut self.buffer, flush).map_err(io::Error::other)?;
            let consumed = usize::try_from(state.total_in() - before_in).expect("a part of the input");
            let produced = usize::try_from(state.total_out() - before_out).expect("a part of the output");
            to.write_all(&self.buffer[..produced])?;
            bytes = &bytes[consumed..];
            // A full buffer may hide more.
            if bytes.is_empty() && produced < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

//! A zlib stream in a file, inflated piece by piece. It reads with `pread`, never through a mapping: a file cut short
//! under a mapping would kill the process, and here it is an error. What the kernel has in memory can be had without
//! waiting for the disk.

use std::{
    fs::File,
    io::{self, ErrorKind, IoSliceMut},
    os::unix::fs::FileExt,
    sync::Arc,
};

use gix::zlib::{Decompress, FlushDecompress, Status};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::Fault;

/// What is read from the file at once, at most.
const INPUT: u64 = 32 * 1024;

/// The inflated bytes of one stream.
pub(crate) struct Inflate {
    file: Arc<File>,
    /// Where the next read begins, and where the file's part ends at the latest.
    offset: u64,
    end: u64,
    input: Vec<u8>,
    /// Of `input`, how much is inflated already.
    used: usize,
    state: Decompress,
    ended: bool,
    /// The compressed bytes that were used, for who copies them as they are.
    kept: Option<Vec<u8>>,
}

impl Inflate {
    /// The stream at `offset`; `hint` is how long its compressed form may be about, so that small ones cost small buffers.
    pub(crate) fn new(file: Arc<File>, offset: u64, end: u64, hint: u64) -> Self {
        let input = vec![0; usize::try_from(hint.clamp(64, INPUT)).expect("at most INPUT")];
        let used = input.len();
        Self { file, offset, end, input, used, state: Decompress::new(), ended: false, kept: None }
    }

    /// Keeps the compressed bytes from here on, for [`Self::take_kept`].
    pub(crate) fn keep(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// The compressed bytes that were used since the last call.
    pub(crate) fn take_kept(&mut self) -> Vec<u8> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Fills `out`, or as much of it as there is until the stream ends.
    pub(crate) fn fill(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        self.fill_by(out, File::read_at)
    }

    /// The same, or as much as can be had without waiting for the disk: nothing is no error, but then `fill` is to be asked.
    pub(crate) fn fill_at_hand(&mut self, out: &mut [u8]) -> Result<usize, Fault> {
        self.fill_by(out, |file, input, offset| {
            match preadv2(file, &mut [IoSliceMut::new(input)], offset, ReadWriteFlags::NOWAIT) {
                // A file system that cannot say.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(ErrorKind::WouldBlock.into()),
                read => Ok(read?),
            }
        })
    }

    /// Ends early where `read` would block.
    fn fill_by(
        &mut self,
        out: &mut [u8],
        read: impl Fn(&File, &mut [u8], u64) -> io::Result<usize>,
    ) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < out.len() && !self.ended {
            if self.used == self.input.len() {
                match self.refill(&read) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    refilled => refilled?,
                }
            }
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self
                .state
                .decompress(&self.input[self.used..], &mut out[filled..], FlushDecompress::None)
                .map_err(|_| Fault::damaged("its compressed data is invalid"))?;
            let consumed = usize::try_from(self.state.total_in() - before_in).expect("a part of the input");
            let produced = usize::try_from(self.state.total_out() - before_out).expect("a part of the output");
            if let Some(kept) = &mut self.kept {
                kept.extend_from_slice(&self.input[self.used..self.used + consumed]);
            }
            self.used += consumed;
            filled += produced;
            self.ended = status == Status::StreamEnd;
            if !self.ended && consumed == 0 && produced == 0 {
                return Err(Fault::damaged("its compressed data ends early"));
            }
        }
        Ok(filled)
    }

    /// Checks that nothing follows, the stream's own checksum included.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(Fault::damaged("it is longer than its header says")),
        }
    }

    fn refill(&mut self, read: impl Fn(&File, &mut [u8], u64) -> io::Result<usize>) -> io::Result<()> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let wanted = left.min(self.input.capacity());
        self.input.resize(wanted, 0);
        let read = loop {
            match read(&self.file, &mut self.input, self.offset) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.used = 0;
        self.input.truncate(*read.as_ref().unwrap_or(&0));
        self.offset += read? as u64;
        Ok(())
    }
}

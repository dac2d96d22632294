//! Interim answers over HTTP/2 (RFC 9110, section 15.2), of which a peer may send any number before the one that counts: h2
//! and hyper skip them, however many there are.

use std::io;

/// Heads on one stream that are not the end of it: the answer's own, and those before.
const HEADS: u8 = 100;

/// Streams that are told apart: more than there are at once.
const PLACES: usize = 256;

/// Counts heads by stream, without knowing which are open: what an older one has to say is counted with the newer one that has
/// its place.
#[derive(Default)]
pub(crate) struct Interim(Vec<(u32, u8)>);

impl Interim {
    /// A head came that is not the end of its stream. An error where it is one too many.
    pub(crate) fn head(&mut self, stream: u32) -> io::Result<()> {
        if self.0.is_empty() {
            self.0 = vec![(0, 0); PLACES];
        }
        let (latest, heads) = &mut self.0[(stream >> 1) as usize % PLACES];
        if stream > *latest {
            (*latest, *heads) = (stream, 0);
        }
        *heads = heads.saturating_add(1);
        if *heads > HEADS { Err(io::Error::other("interim answers without end")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADS, Interim};

    #[test]
    fn heads_are_counted_by_stream() {
        let mut interim = Interim::default();
        for stream in (1..100_000).step_by(2) {
            assert!(interim.head(stream).is_ok() && interim.head(stream).is_ok(), "{stream}");
        }
        // Two that have one place are counted together.
        for streams in [[100_001, 100_001], [100_003, 100_005], [100_007, 100_519]] {
            let mut interim = Interim::default();
            let said = streams.iter().cycle().take(1000);
            let told = said.take_while(|stream| interim.head(**stream).is_ok()).count();
            let expected = if streams[0] == 100_003 { 2 * usize::from(HEADS) } else { usize::from(HEADS) };
            assert!((expected..=expected + 1).contains(&told), "{streams:?}: {told}");
        }
    }
}

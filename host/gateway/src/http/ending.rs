//! What hangs on a response until its last byte has left: the connection is busy that long, and the log's line is written
//! then.

use std::borrow::Cow;

use crate::http::{access::Record, shares::Seat, watch::Busy};

pub(super) struct Ending {
    busy: Option<Busy>,
    /// What its client has of an upstream meanwhile.
    seat: Option<Seat>,
    record: Option<Box<Record>>,
    in_pieces: bool,
}

impl Ending {
    /// `in_pieces`, where what takes the body holds what it was given for as long as the client likes.
    pub(super) fn new(busy: Busy, record: Option<Box<Record>>, in_pieces: bool) -> Self {
        Self { busy: Some(busy), seat: None, record, in_pieces }
    }

    pub(super) fn hold(&mut self, seat: Seat) {
        self.seat = Some(seat);
    }

    pub(super) fn in_pieces(&self) -> bool {
        self.in_pieces
    }

    /// The line to be, where one is wanted.
    pub(super) fn record(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// Whether the rest of the response waits for the client, and not for us.
    pub(super) fn waits_for_client(&mut self, waiting: bool) {
        if let Some(busy) = &mut self.busy {
            busy.waits_for_client(waiting);
        }
    }

    /// Bytes of the body have left.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes += bytes as u64;
        }
    }

    /// The body broke off.
    pub(super) fn broke(&mut self, error: &(dyn std::error::Error + 'static)) {
        if let Some(record) = &mut self.record {
            record.error = Some(error.to_string().into());
        }
    }

    /// The body has ended. Without this, whoever read it went away.
    pub(super) fn complete(&mut self) {
        (self.busy, self.seat) = (None, None);
        if let Some(mut record) = self.record.take() {
            record.complete = true;
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let (Some(record), Some(busy)) = (&mut self.record, &self.busy)
            && busy.is_cut()
        {
            record.error.get_or_insert(Cow::Borrowed("cut off by the host"));
        }
    }
}

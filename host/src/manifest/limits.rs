//! `[limits]`: what one client may take of the host.

use std::{ops::RangeInclusive, time::Duration};

use atoll_gateway::http::Limits;

use super::reader::Table;

/// A second is the finest that is looked at; a day is for ever.
pub(super) const TIMES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// To what HTTP/1.1 and HTTP/2 can both hold of a head.
const HEAD_SIZES: RangeInclusive<u64> = 1 << 10..=1 << 20;
const MANY: u32 = 1 << 20;

pub(super) fn read(mut table: Table<'_>) -> Limits {
    let default = Limits::default();
    let mut time = |key, default| table.duration(key, TIMES).unwrap_or(default);
    let handshake = time("handshake", default.handshake);
    let head = time("head", default.head);
    let idle = time("idle", default.idle);
    let body_window = time("body-window", default.body_window);
    let head_size = table.size("head-size", default.head_size.into(), HEAD_SIZES);
    let mut number = |key, default, within| table.number(key, default, within);
    let limits = Limits {
        handshake,
        head,
        idle,
        body_rate: number("body-rate", default.body_rate, 0..=MANY),
        body_window,
        head_size: head_size.try_into().expect("a MiB at most"),
        fields: number("fields", default.fields, 10..=10_000),
        streams: number("streams", default.streams, 1..=10_000),
        resets: number("resets", default.resets, 1..=MANY),
        control_frames: number("control-frames", default.control_frames, 10..=MANY),
        address_connections: number("address-connections", default.address_connections, 1..=MANY),
        connections: number("connections", default.connections, 1..=MANY),
    };
    table.finish();
    limits
}

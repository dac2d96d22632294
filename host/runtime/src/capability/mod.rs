//! What guests import: one file an interface, adapters and nothing else. What stands behind them comes in through `ctx`.

use wasmtime::component::{HasData, Linker};

use crate::{bindings, ctx::Ctx};

pub(crate) mod clocks;
pub(crate) mod outbound;
pub(crate) mod publication;
pub(crate) mod random;
pub(crate) mod repository;
pub(crate) mod request_head;
pub(crate) mod stdio;
pub(crate) mod upstreams;

/// Our interfaces are implemented on the whole context.
pub(crate) struct Ours;

impl HasData for Ours {
    type Data<'a> = &'a mut Ctx;
}

/// A linker that knows every interface that this host has. What a component may use of it is decided by `grant`, before,
/// and by what its context holds, at the call.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Ctx>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    // In place of WASI's own, whose timers sleep whatever clock the context was given.
    linker.allow_shadowing(true);
    clocks::add_to_linker(&mut linker)?;
    linker.allow_shadowing(false);
    bindings::repository::add_to_linker::<_, Ours>(&mut linker, |ctx| ctx)?;
    linker.allow_shadowing(true);
    repository::link_read(&mut linker)?;
    linker.allow_shadowing(false);
    bindings::publication::add_to_linker::<_, Ours>(&mut linker, |ctx| ctx)?;
    bindings::request_head::add_to_linker::<_, Ours>(&mut linker, |ctx| ctx)?;
    bindings::upstreams::add_to_linker::<_, Ours>(&mut linker, |ctx| ctx)?;
    Ok(linker)
}

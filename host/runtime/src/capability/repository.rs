//! `repository`: branches that were granted, at the revision of the instance's generation.

use std::sync::Arc;

use http_body_util::BodyExt;
use tokio::sync::oneshot;
use wasmtime::{
    AsContextMut as _, StoreContextMut,
    component::{Access, FutureReader, Linker, Resource, StreamReader},
};
use wasmtime_wasi_http::{WasiHttp, WasiHttpView, p3::bindings::http::types::HostResponseWithStore};

use super::stdio::printable;
use crate::{Blob, Branch, Kind, TreeError, bindings::repository as wit, body::HostBody, ctx::Ctx, limits};

/// A handle of the guest's.
#[expect(unreachable_pub, reason = "generated code names it again as public")]
pub struct OpenBranch(Arc<dyn Branch>);

impl OpenBranch {
    pub(super) fn new(branch: Arc<dyn Branch>) -> Self {
        Self(branch)
    }

    fn get(ctx: &Ctx, handle: &Resource<Self>) -> wasmtime::Result<Arc<dyn Branch>> {
        Ok(ctx.table.get(handle)?.0.clone())
    }
}

impl wit::Host for Ctx {}

impl wit::HostBranch for Ctx {
    fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<OpenBranch>, wit::Error>> {
        let Some(branch) = self.given.branches.get(&name).cloned() else {
            let name = printable(name.as_bytes());
            self.given
                .tell_denied(&format!("for {name}, which is not granted"), &format!("git = {{ {name} = \"read\" }}"));
            return Ok(Err(wit::Error::Denied));
        };
        Ok(Ok(self.table.push(OpenBranch(branch))?))
    }

    fn revision(&mut self, handle: Resource<OpenBranch>) -> wasmtime::Result<String> {
        Ok(OpenBranch::get(self, &handle)?.revision().into())
    }

    fn committed(&mut self, handle: Resource<OpenBranch>) -> wasmtime::Result<u64> {
        Ok(OpenBranch::get(self, &handle)?.committed())
    }

    async fn entry(
        &mut self,
        handle: Resource<OpenBranch>,
        path: String,
    ) -> wasmtime::Result<Result<wit::Entry, wit::Error>> {
        let branch = OpenBranch::get(self, &handle)?;
        Ok(branch.entry(&path).await.map(Into::into).map_err(Into::into))
    }

    async fn children(
        &mut self,
        handle: Resource<OpenBranch>,
        path: String,
    ) -> wasmtime::Result<Result<Vec<wit::Entry>, wit::Error>> {
        let branch = OpenBranch::get(self, &handle)?;
        let children = branch.children(&path).await;
        Ok(children.map(|entries| entries.into_iter().map(Into::into).collect()).map_err(Into::into))
    }

    async fn size(&mut self, handle: Resource<OpenBranch>, path: String) -> wasmtime::Result<Result<u64, wit::Error>> {
        let branch = OpenBranch::get(self, &handle)?;
        Ok(branch.size(&path).await.map_err(Into::into))
    }

    async fn contents(
        &mut self,
        handle: Resource<OpenBranch>,
        path: String,
    ) -> wasmtime::Result<Result<Vec<u8>, wit::Error>> {
        let branch = OpenBranch::get(self, &handle)?;
        Ok(branch.contents(&path, limits::CONTENTS).await.map(|bytes| bytes.to_vec()).map_err(Into::into))
    }

    fn read(&mut self, _: Resource<OpenBranch>, _: String) -> wasmtime::Result<Result<Reading, wit::Error>> {
        // What is generated wants one. `link_read` takes its place.
        wasmtime::bail!("branch.read is linked by itself")
    }

    fn drop(&mut self, handle: Resource<OpenBranch>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

/// The two ends that `read` hands to a guest.
type Reading = (StreamReader<u8>, FutureReader<Result<(), wit::Error>>);

/// Links `branch.read`, for which there is no form in what is generated: it waits, as its neighbours do, so that what it says
/// never depends on what the host has in memory just then; and it makes streams, which takes the store.
pub(super) fn link_read(linker: &mut Linker<Ctx>) -> wasmtime::Result<()> {
    let mut interface = linker.instance("atoll:host/repository@0.1.0")?;
    interface.func_wrap_async("[method]branch.read", |mut store, (handle, path): (Resource<OpenBranch>, String)| {
        Box::new(async move {
            let branch = OpenBranch::get(store.data(), &handle)?;
            let reading = match branch.read(&path).await {
                Ok(blob) => Ok(reading(&mut store, blob)?),
                Err(error) => Err(wit::Error::from(error)),
            };
            Ok((reading,))
        })
    })
}

fn reading(store: &mut StoreContextMut<'_, Ctx>, blob: Blob) -> wasmtime::Result<Reading> {
    let (ended, end) = oneshot::channel();
    let ctx = store.data_mut();
    let body = HostBody::new(blob.body, ctx.origin.clone()).reporting(ended);

    // As a response of wasi:http's own, so that a guest that passes the stream on as a body gives it back to the host.
    let response = http::Response::new(body.boxed_unsync());
    let (response, _) = wasmtime_wasi_http::p3::Response::from_http(ctx.http().hooks, response);
    let response = ctx.table.push(response)?;
    let ignored = FutureReader::new(&mut *store, async { wasmtime::error::Ok(Ok(())) })?;
    let http = Access::<Ctx, WasiHttp>::new(store.as_context_mut(), Ctx::http);
    let (contents, mut trailers) = WasiHttp::consume_body(http, response, ignored)?;
    trailers.close(&mut *store)?;
    let end = FutureReader::new(&mut *store, async move {
        // A stream that was dropped before its end has no error to tell.
        wasmtime::error::Ok(end.await.unwrap_or(Ok(())).map_err(Into::into))
    })?;
    Ok((contents, end))
}

impl From<crate::Entry> for wit::Entry {
    fn from(entry: crate::Entry) -> Self {
        let kind = match entry.kind {
            Kind::File => wit::Kind::File,
            Kind::Executable => wit::Kind::Executable,
            Kind::Symlink => wit::Kind::Symlink,
            Kind::Directory => wit::Kind::Directory,
            Kind::Submodule => wit::Kind::Submodule,
        };
        Self { name: entry.name, kind, id: entry.id }
    }
}

impl From<TreeError> for wit::Error {
    fn from(error: TreeError) -> Self {
        match error {
            TreeError::NotFound => Self::NotFound,
            TreeError::TooLarge => Self::TooLarge,
            TreeError::Corrupt(words) => Self::Corrupt(words),
            TreeError::Other(words) => Self::Other(words),
        }
    }
}

//! `request-head`: what a router asks about a request, written down while it asks.

use std::sync::Arc;

use wasmtime::component::Resource;

use crate::{
    bindings::request_head as wit,
    ctx::Ctx,
    decision::OwnedHead,
    decisions::{Path, Question},
};

/// A router that asks more than this gets no decision remembered; it has to be asked again each time.
const QUESTIONS: usize = 512;

/// The head that a router is asked about.
#[expect(unreachable_pub, reason = "generated code names it again as public")]
pub struct Request(pub(crate) Arc<OwnedHead>);

/// The questions of one decision with their answers, in order, each once.
#[derive(Default)]
pub(crate) struct Recorder {
    path: Path,
    overflown: bool,
}

impl Recorder {
    fn ask(&mut self, head: &OwnedHead, question: Question) {
        if self.path.iter().any(|(asked, _)| *asked == question) {
            return;
        }
        if self.path.len() == QUESTIONS {
            self.overflown = true;
            return;
        }
        let mut answer = Vec::new();
        question.answer(&head.borrowed(), &mut answer);
        self.path.push((question, answer.into()));
    }

    /// What a decision depends on; nothing if it depends on too much to be worth remembering.
    pub(crate) fn take(&mut self) -> Option<Path> {
        let recorder = std::mem::take(self);
        (!recorder.overflown).then_some(recorder.path)
    }
}

impl Ctx {
    fn asked(&mut self, request: &Resource<Request>, question: Question) -> wasmtime::Result<Arc<OwnedHead>> {
        let head = self.table.get(request)?.0.clone();
        self.recorder.ask(&head, question);
        Ok(head)
    }
}

impl wit::Host for Ctx {}

impl wit::HostRequest for Ctx {
    fn scheme(&mut self, request: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.asked(&request, Question::Scheme)?.scheme.clone())
    }

    fn authority(&mut self, request: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.asked(&request, Question::Authority)?.authority.clone())
    }

    fn method(&mut self, request: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.asked(&request, Question::Method)?.method.as_str().into())
    }

    fn path(&mut self, request: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.asked(&request, Question::Path)?.path.clone())
    }

    fn under(&mut self, request: Resource<Request>, prefix: String) -> wasmtime::Result<bool> {
        let head = self.asked(&request, Question::Under(prefix.as_str().into()))?;
        Ok(crate::under(&head.path, &prefix))
    }

    fn query(&mut self, request: Resource<Request>) -> wasmtime::Result<Option<String>> {
        Ok(self.asked(&request, Question::Query)?.query.clone())
    }

    fn field(&mut self, request: Resource<Request>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) else { return Ok(Vec::new()) };
        let head = self.asked(&request, Question::Field(name.clone()))?;
        Ok(head.fields.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect())
    }

    fn client(&mut self, request: Resource<Request>) -> wasmtime::Result<String> {
        Ok(self.asked(&request, Question::Client)?.client.to_string())
    }

    fn drop(&mut self, request: Resource<Request>) -> wasmtime::Result<()> {
        self.table.delete(request)?;
        Ok(())
    }
}

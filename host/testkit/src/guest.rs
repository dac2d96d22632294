//! A component with its world: one generation, to be asked.

use std::{fmt, sync::Arc, time::Duration};

use atoll_runtime::{Answer, Code, Decision, Disproof, Failure, Generation, Inputs, Problem, Role, Runtime, Table};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;

use crate::{
    Commit, Error, Request, SentRequest, World, component::Shared, lines::Lines, outbound::Sent, publication::Commits,
    world::Clock,
};

/// A longer body is an endless one.
const BODY: usize = 64 << 20;
/// How often to look whether a guest has come to rest.
const LOOK: Duration = Duration::from_micros(200);

/// A guest, to be asked. Its instances are kept between requests as a host keeps them; a router is asked on a fresh one,
/// and an agent ticks on a fresh one.
///
/// Its methods block, and may not be called from within an asynchronous runtime.
pub struct Guest {
    shared: &'static Shared,
    runtime: Runtime,
    name: Arc<str>,
    inputs: Inputs,
    generation: Generation,
    clock: Clock,
    lines: Arc<Lines>,
    sent: Arc<Sent>,
    commits: Arc<Commits>,
}

/// What a service answered.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub fields: HeaderMap,
    /// The whole body, or what came of it.
    pub body: Bytes,
    pub trailers: HeaderMap,
    /// Why the body is not whole.
    pub broke_off: Option<String>,
    /// The instance has used a clock, randomness or the outbound client: a host remembers the answer by its age alone, not
    /// by the branches that it was made of.
    pub marked: bool,
}

impl Reply {
    /// The one value of a field; nothing if there is none, or several, or it is no text.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    /// The body as text, with replacement characters where it is none.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Guest {
    pub(crate) fn new(shared: &'static Shared, name: Arc<str>, code: Arc<Code>, world: World) -> Result<Self, Error> {
        let (lines, sent, clock) = (Arc::<Lines>::default(), Arc::<Sent>::default(), world.time());
        let commits = Arc::<Commits>::default();
        let inputs = world.inputs(code, &sent, &lines, &commits)?;
        let runtime = Runtime::new(shared.engine.clone(), lines.clone());
        let runtime = runtime.map_err(|error| Error::Engine(format!("{error:#}")))?.with_wall_clock(clock.wall_clock());
        let generation = runtime.assemble(&name, inputs.clone()).map_err(Error::Refused)?;
        Ok(Self { shared, runtime, name, inputs, generation, clock, lines, sent, commits })
    }

    pub(crate) fn is_router(&self) -> bool {
        self.generation.role() == Role::Router
    }

    /// Asks a router.
    ///
    /// # Errors
    /// It is none, the request can't be made, or it gave no decision that a host would act on.
    pub fn route(&self, request: &Request) -> Result<Arc<Decision>, Error> {
        self.forget();
        let request = request.checked()?;
        Ok(self.shared.threads.block_on(self.generation.decide(&request.head()))?)
    }

    /// Asks a service, and waits for the whole body.
    ///
    /// # Errors
    /// It is none, the request can't be made, or it gave no response. A body that broke off is no error of the call.
    pub fn handle(&self, request: &Request) -> Result<Reply, Error> {
        self.forget();
        let request = request.checked()?;
        let isolation = request.isolation();
        self.shared.threads.block_on(async {
            let answer = self.generation.handle(request.into_http(), isolation).await;
            let reply = match answer {
                Ok(answer) => Ok(collect(answer).await),
                Err(failure) => Err(failure.into()),
            };
            self.rest().await;
            reply
        })
    }

    /// Wakes an agent at `now`, in seconds since the Unix epoch, and says when it wants to be woken next. The clock is set
    /// to `now`.
    ///
    /// # Errors
    /// It is none, it returned an error, trapped, or was too slow.
    pub fn tick(&self, now: u64) -> Result<Option<u64>, Error> {
        self.forget();
        self.clock.set(now);
        Ok(self.shared.threads.block_on(self.generation.tick(now))?)
    }

    /// Has it look at what it was given, on a fresh instance, and gives the problems that it found.
    ///
    /// # Errors
    /// It does not export `validation`, or it trapped or was too slow.
    pub fn validate(&self) -> Result<Vec<Problem>, Error> {
        self.forget();
        if !self.inputs.code.surface().validates {
            return Err(Error::NotExported(format!("{} does not export atoll:host/validation@0.1.0", self.name)));
        }
        let table = Table { probe: None, ..(*self.inputs.table).clone() };
        let inputs = Inputs { table: Arc::new(table), ..self.inputs.clone() };
        match self.shared.threads.block_on(self.runtime.prove(&self.name, inputs)) {
            Ok(_) => Ok(Vec::new()),
            Err(disproof) if disproof.passing => Err(Failure::NoResponse(disproof.to_string()).into()),
            Err(disproof) => Ok(disproof.problems),
        }
    }

    /// All that it would have to pass before it serves: it starts, finds no problem, and its probe is answered.
    ///
    /// # Errors
    /// What a host would say.
    pub fn prove(&self) -> Result<(), Disproof> {
        self.forget();
        self.shared.threads.block_on(self.runtime.prove(&self.name, self.inputs.clone())).map(drop)
    }

    /// What the last call had to say, line by line: the guest's standard output and error, and the host about the guest.
    pub fn log(&self) -> Vec<String> {
        self.lines.texts()
    }

    /// What the last call sent out, whether it was answered or denied.
    pub fn sent(&self) -> Vec<SentRequest> {
        self.sent.all()
    }

    /// What the last call published. The guest goes on seeing the branches as they were; what it opens to write to is the
    /// newest, as its own commits left it.
    pub fn published(&self) -> Vec<Commit> {
        self.commits.all()
    }

    fn forget(&self) {
        self.commits.clear();
        self.lines.clear();
        self.sent.clear();
    }

    /// Waits until no instance is busy: a guest may go on after its body, and its last words come when it goes.
    async fn rest(&self) {
        let most = self.inputs.table.limits.timeout * 2;
        let rest = async {
            while self.generation.usage().in_flight > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(most, rest).await.is_err() {
            self.lines.note(format!("it is still busy {most:?} after its answer"));
        }
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn collect(answer: Answer) -> Reply {
    let Answer { response, effects } = answer;
    let (head, mut rest) = response.into_parts();
    let (mut body, mut trailers, mut broke_off) = (Vec::new(), HeaderMap::new(), None);
    while let Some(frame) = rest.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
            Err(error) => broke_off = Some(error.to_string()),
        }
        if body.len() > BODY {
            broke_off = Some(format!("it is longer than {} MiB", BODY >> 20));
        }
        if broke_off.is_some() {
            break;
        }
    }
    drop(rest);
    // Now, since a guest may use a clock while it still writes.
    let marked = effects.marked();
    Reply { status: head.status, fields: head.headers, body: body.into(), trailers, broke_off, marked }
}

//! Receive-pack: what a branch stands at, and one update of it with the pack of what the server lacks. The server compares
//! and swaps; what it reports is taken for what it is, its words for hostile.

use gix::{ObjectId, hash::Kind as HashKind};

use super::{
    SmartError,
    greeting::{self, AGENT, Capabilities, Greeting},
    packet::{Message, Packets},
    refs::Tips,
    report::{self, Report},
    sideband::Sideband,
};
use crate::{objects::Outgoing, transport::Talk};

/// What is to become of a ref.
pub(crate) struct Update<'a> {
    /// In full: `refs/heads/main`.
    pub(crate) name: &'a str,
    /// What it must stand at; nothing where it must not exist.
    pub(crate) old: Option<ObjectId>,
    /// What it is to stand at; nothing where it is to go.
    pub(crate) new: Option<ObjectId>,
}

/// A conversation in which a server said what the branch stands at.
pub(crate) struct Receiver<T> {
    packets: Packets<T>,
    capabilities: Capabilities,
    at: Option<ObjectId>,
}

/// What the server still has to say when the ref has been updated: its hooks run, and are not to be cut off.
pub(crate) struct Rest<T>(Option<Packets<Sideband<T>>>);

impl<T: Talk> Receiver<T> {
    /// Looks up the ref `name`.
    pub(crate) fn greeted(talk: T, name: &str) -> Result<Self, SmartError> {
        let (mut tips, mut packets) = (Tips::new(Some(name))?, Packets::new(talk));
        packets.inner().greet()?;
        match greeting::read(&mut packets, &mut tips)? {
            Greeting::V0(capabilities) => Ok(Self { packets, capabilities, at: tips.at() }),
            Greeting::V2(_) => Err(SmartError::Framing("a version of it that cannot push")),
        }
    }

    pub(crate) fn at(&self) -> Option<ObjectId> {
        self.at
    }

    /// Whether a pack may name bases that are only in the server's repository.
    pub(crate) fn takes_thin_packs(&self) -> bool {
        !self.capabilities.has("no-thin")
    }

    /// Has the ref updated; a pack goes along unless the ref is to go. What the server says after its report is left to be
    /// heard.
    pub(crate) fn push(self, update: &Update<'_>, pack: Option<&Outgoing>) -> Result<(Report, Rest<T>), SmartError> {
        let Self { mut packets, capabilities, .. } = self;
        let message = command(&capabilities, update)?;
        let sent = packets.inner().push(&message, pack);
        packets.inner().pack_follows();
        let heard = if capabilities.has("side-band-64k") {
            Sideband::new(packets, None).and_then(|sideband| {
                let mut inside = Packets::new(sideband);
                let read = report::read(&mut inside, update.name);
                let report = read?.with(inside.inner().words());
                Ok((report, Rest(Some(inside))))
            })
        } else {
            report::read(&mut packets, update.name).map(|report| (report, Rest(None)))
        };
        match (heard, sent) {
            (Ok(heard), _) => Ok(heard),
            // It may have said why it hung up.
            (Err(said @ SmartError::Said(_)), _) => Err(said),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }
}

impl<T: Talk> Rest<T> {
    /// Hears it to its end, as long as talk may take. How that ends is nobody's business any more.
    pub(crate) fn hear(self) {
        let Some(mut inside) = self.0 else { return };
        inside.inner().talk().talk_follows();
        let _ = std::io::copy(inside.inner(), &mut std::io::sink());
    }
}

fn command(capabilities: &Capabilities, update: &Update<'_>) -> Result<Vec<u8>, SmartError> {
    let null = ObjectId::null(HashKind::Sha1);
    if update.new.is_none() && !capabilities.has("delete-refs") {
        return Err(SmartError::Keeps);
    }
    let status = ["report-status-v2", "report-status"].into_iter().find(|name| capabilities.has(name));
    let mut asked = status.ok_or(SmartError::Lacks("report-status"))?.to_owned();
    for name in ["side-band-64k", "atomic", "quiet"] {
        if capabilities.has(name) {
            asked.push(' ');
            asked.push_str(name);
        }
    }
    if capabilities.has("object-format") {
        asked.push_str(" object-format=sha1");
    }
    if capabilities.has("agent") {
        asked.push_str(" agent=");
        asked.push_str(AGENT);
    }
    let (old, new, name) = (update.old.unwrap_or(null), update.new.unwrap_or(null), update.name);
    let mut message = Message::default();
    message.data(format!("{old} {new} {name}\0{asked}").as_bytes()).flush();
    Ok(message.into_bytes())
}

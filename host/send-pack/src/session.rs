//! One push: what refs stand at, and updates of them with the pack of what the server lacks (gitprotocol-pack(5), "Pushing
//! Data To a Server"). The server compares and swaps; what it reports is taken for what it is, its words for hostile.

use gix::{ObjectId, hash::Kind as HashKind, refs::FullName};

use crate::{
    Connection, Error, Pack,
    greeting::{self, Capabilities, Greeting},
    packet::{Message, Packets},
    report::{self, Report},
    sideband::Sideband,
};

/// What is to become of a ref.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// In full: `refs/heads/main`. One of those that the session was opened for.
    pub name: &'a str,
    /// What it must stand at; nothing where it must not exist.
    pub old: Option<ObjectId>,
    /// What it is to stand at; nothing where it is to go.
    pub new: Option<ObjectId>,
}

/// A conversation in which a server said what refs stand at.
pub struct Session<C> {
    packets: Packets<C>,
    capabilities: Capabilities,
    refs: Vec<(String, Option<ObjectId>)>,
}

/// What the server still has to say when the refs have been updated: its hooks run, and are not to be cut off.
pub struct Rest<C>(Option<Packets<Sideband<C>>>);

impl<C: Connection> Session<C> {
    /// Greets, and looks up the refs `names`, each in full, among however many the server has: the rest are not kept.
    ///
    /// # Errors
    /// [`Error::Name`] before anything is said; then what is no greeting of versions 0 or 1, and the connection's.
    pub fn open(connection: C, names: &[&str]) -> Result<Self, Error> {
        if let Some(name) = names.iter().find(|name| !name.starts_with("refs/") || FullName::try_from(**name).is_err())
        {
            return Err(Error::Name((*name).to_owned()));
        }
        let mut refs: Vec<(String, Option<ObjectId>)> = names.iter().map(|name| ((*name).to_owned(), None)).collect();
        let mut packets = Packets::new(connection);
        packets.inner().greet()?;
        let greeting = greeting::read(&mut packets, &mut |line| {
            let (id, name) = greeting::named(line)?;
            for (wanted, at) in &mut refs {
                if wanted.as_bytes() == name {
                    *at = Some(id);
                }
            }
            Ok(())
        })?;
        match greeting {
            Greeting::V0(capabilities) => Ok(Self { packets, capabilities, refs }),
            Greeting::V2(_) => Err(Error::Framing("a version of it that cannot push")),
        }
    }

    /// What one of the refs stands at that the session was opened for; nothing where it does not exist.
    pub fn at(&self, name: &str) -> Option<ObjectId> {
        self.refs.iter().find(|(known, _)| known == name).and_then(|(_, at)| *at)
    }

    /// Whether a pack may name bases that are only in the server's repository.
    pub fn takes_thin_packs(&self) -> bool {
        !self.capabilities.has("no-thin")
    }

    /// Has the refs updated, all of them or none, and yields what became of each. A pack goes along unless all of them are
    /// to go. `agent` is what the server is told that we are: `NAME/VERSION`. What it says after its report is left to be
    /// heard.
    ///
    /// # Errors
    /// Before anything is sent: [`Error::Nothing`], [`Error::Twice`], [`Error::Packless`], [`Error::Name`],
    /// [`Error::Keeps`], [`Error::Moved`], [`Error::Lacks`] (for several updates `atomic`, and always `report-status`). After that it is not known what the
    /// server did, unless it [said](Error::Said) why it did not: look again.
    pub fn push(
        self,
        updates: &[Update<'_>],
        pack: Option<&Pack>,
        agent: &str,
    ) -> Result<(Vec<Report>, Rest<C>), Error> {
        let message = self.commands(updates, pack.is_some(), agent)?;
        let Self { mut packets, capabilities, .. } = self;
        let pack = pack.filter(|_| updates.iter().any(|update| update.new.is_some()));
        let names: Vec<&str> = updates.iter().map(|update| update.name).collect();
        let sent = packets.inner().push(&message, pack);
        packets.inner().pack_follows();
        let heard = if capabilities.has("side-band-64k") {
            Sideband::new(packets, None).and_then(|sideband| {
                let mut inside = Packets::new(sideband);
                let reports = report::read(&mut inside, &names)?;
                let words = inside.inner().words();
                let reports = reports.into_iter().map(|report| report.with(words)).collect();
                Ok((reports, Rest(Some(inside))))
            })
        } else {
            report::read(&mut packets, &names).map(|reports| (reports, Rest(None)))
        };
        match (heard, sent) {
            (Ok(heard), _) => Ok(heard),
            // It may have said why it hung up.
            (Err(said @ Error::Said(_)), _) => Err(said),
            (Err(_), Err(error)) => Err(error.into()),
            (Err(error), Ok(())) => Err(error),
        }
    }

    fn commands(&self, updates: &[Update<'_>], packed: bool, agent: &str) -> Result<Vec<u8>, Error> {
        let capabilities = &self.capabilities;
        if updates.is_empty() || updates.iter().any(|update| update.old.is_none() && update.new.is_none()) {
            return Err(Error::Nothing);
        }
        if updates.iter().flat_map(|update| [update.old, update.new]).flatten().any(|id| id.is_null()) {
            return Err(Error::Nothing);
        }
        let again =
            |(at, update): &(usize, &Update<'_>)| updates[..*at].iter().any(|before| before.name == update.name);
        if let Some((_, update)) = updates.iter().enumerate().find(again) {
            return Err(Error::Twice(update.name.to_owned()));
        }
        if let Some(update) = updates.iter().find(|update| !self.refs.iter().any(|(name, _)| name == update.name)) {
            return Err(Error::Name(update.name.to_owned()));
        }
        if updates.iter().any(|update| update.new.is_none()) && !capabilities.has("delete-refs") {
            return Err(Error::Keeps);
        }
        // git's receive-pack compares nothing where it does not have the object that the ref should stand at.
        let gone = updates.iter().find(|update| update.new.is_none() && self.at(update.name) != update.old);
        if let Some(update) = gone {
            return Err(Error::Moved(update.name.to_owned()));
        }
        if updates.iter().any(|update| update.new.is_some()) && !packed {
            return Err(Error::Packless);
        }
        if updates.len() > 1 && !capabilities.has("atomic") {
            return Err(Error::Lacks("atomic"));
        }
        let status = ["report-status-v2", "report-status"].into_iter().find(|name| capabilities.has(name));
        let mut asked = status.ok_or(Error::Lacks("report-status"))?.to_owned();
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
            // What would be another capability, or another packet, is no name.
            asked.extend(agent.chars().take(256).filter(char::is_ascii_graphic));
        }
        let (null, mut message) = (ObjectId::null(HashKind::Sha1), Message::default());
        for (position, update) in updates.iter().enumerate() {
            let (old, new, name) = (update.old.unwrap_or(null), update.new.unwrap_or(null), update.name);
            let asked = if position == 0 { format!("\0{asked}") } else { String::new() };
            message.data(format!("{old} {new} {name}{asked}").as_bytes());
        }
        message.flush();
        Ok(message.into_bytes())
    }
}

impl<C: Connection> Rest<C> {
    /// Hears it to its end, as long as talk may take. How that ends is nobody's business any more.
    pub fn hear(self) {
        let Some(mut inside) = self.0 else { return };
        inside.inner().talk().talk_follows();
        let _ = std::io::copy(inside.inner(), &mut std::io::sink());
    }
}

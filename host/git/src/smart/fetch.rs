//! Upload-pack: what a branch stands at, in one round trip where the server is known; and then, if that is wanted, the pack
//! of one commit's tree, and of those before it as far as they are wanted, less what we say we have.

use atoll_send_pack::{
    Error,
    greeting::{self, Capabilities, Greeting, Known},
    packet::{Message, Packet, Packets},
    sideband::Sideband,
};
use gix::ObjectId;

use super::{
    AGENT, SmartError,
    refs::{self, Tips},
};
use crate::{Depth, transport::Talk};

/// A commit that is wanted, and what need not be sent for it.
pub(crate) struct Want<'a> {
    pub(crate) id: ObjectId,
    /// How many commits.
    pub(crate) depth: Depth,
    /// Commits that are here with all that they reach, as far as `shallow`.
    pub(crate) have: &'a [ObjectId],
    /// Those whose parents are not here.
    pub(crate) shallow: &'a [ObjectId],
}

/// A conversation in which the branch was looked up.
pub(crate) struct Look<T> {
    packets: Packets<T>,
    dialect: Dialect,
    tips: Tips,
}

enum Dialect {
    V2(Known),
    V0(Capabilities),
}

impl<T: Talk> Look<T> {
    /// Looks up `branch`, or what HEAD names. `known` is what an earlier conversation with the same server showed.
    pub(crate) fn up(talk: T, known: Option<Known>, branch: Option<&str>) -> Result<Self, SmartError> {
        let mut tips = Tips::new(branch)?;
        let mut packets = Packets::new(talk);
        if let Some(known) = known {
            packets.inner().ask(&refs::list(&known, tips.wanted()))?;
            if !packets.inner().stateless() {
                let Greeting::V2(_) = greeting::read(&mut packets, &mut |line| tips.line(line))? else {
                    return Err(Error::Framing("another version of it than before").into());
                };
            }
            let mut look = Self { packets, dialect: Dialect::V2(known), tips };
            look.read_list()?;
            return Ok(look);
        }
        packets.inner().greet()?;
        match greeting::read(&mut packets, &mut |line| tips.line(line))? {
            Greeting::V0(capabilities) => {
                if let Some(head) = capabilities.head() {
                    tips.head_is(head);
                }
                Ok(Self { packets, dialect: Dialect::V0(capabilities), tips })
            }
            Greeting::V2(known) => {
                packets.inner().ask(&refs::list(&known, tips.wanted()))?;
                let mut look = Self { packets, dialect: Dialect::V2(known), tips };
                look.read_list()?;
                Ok(look)
            }
        }
    }

    /// What to remember of the server.
    pub(crate) fn known(&mut self) -> Option<Known> {
        match &self.dialect {
            Dialect::V2(known) if !self.packets.inner().strays() => Some(known.clone()),
            Dialect::V2(_) | Dialect::V0(_) => None,
        }
    }

    pub(crate) fn tip(&self) -> Option<ObjectId> {
        self.tips.at()
    }

    /// What HEAD names, where the server says it: in full.
    pub(crate) fn head(&self) -> Option<&str> {
        self.tips.head()
    }

    /// Why there is no tip; nothing where there is no branch at all.
    pub(crate) fn missing(mut self) -> Result<Option<SmartError>, SmartError> {
        if let Dialect::V2(known) = &self.dialect {
            let list = refs::list(known, "refs/heads/");
            self.packets.inner().ask(&list)?;
            self.read_list()?;
        }
        Ok(if self.tips.are_none() { None } else { Some(self.tips.missing()) })
    }

    /// Asks for the pack.
    pub(crate) fn fetch(mut self, want: &Want<'_>) -> Result<Sideband<T>, SmartError> {
        let message = match &self.dialect {
            Dialect::V2(known) => in_v2(known, want),
            Dialect::V0(capabilities) => in_v0(capabilities, want)?,
        };
        self.packets.inner().ask(&message)?;
        self.packets.inner().pack_follows();
        match self.dialect {
            Dialect::V2(_) => after_sections(self.packets),
            Dialect::V0(_) => after_acknowledgments(self.packets),
        }
    }

    fn read_list(&mut self) -> Result<(), SmartError> {
        while let Some(line) = self.packets.line()? {
            self.tips.line(line)?;
        }
        Ok(())
    }
}

fn in_v2(known: &Known, want: &Want<'_>) -> Vec<u8> {
    let mut message = refs::command(known, "fetch");
    message.delimiter().line("thin-pack").line("no-progress").line("ofs-delta");
    if known.0.feature("fetch", "shallow") {
        for id in want.shallow {
            message.line(&format!("shallow {id}"));
        }
        message.line(&format!("deepen {}", want.depth.commits()));
        // Of a server that knows no shallow copies, having a commit is having all before it.
        for id in want.have {
            message.line(&format!("have {id}"));
        }
    }
    message.line(&format!("want {}", want.id)).line("done").flush();
    message.into_bytes()
}

/// In one message, whether the server answers between its parts or not.
fn in_v0(capabilities: &Capabilities, want: &Want<'_>) -> Result<Vec<u8>, SmartError> {
    if !capabilities.has("side-band-64k") {
        return Err(Error::Lacks("side-band-64k").into());
    }
    let mut asked = format!("want {} side-band-64k", want.id);
    for name in ["thin-pack", "ofs-delta", "no-progress"] {
        if capabilities.has(name) {
            asked.push(' ');
            asked.push_str(name);
        }
    }
    if capabilities.has("agent") {
        asked.push_str(" agent=");
        asked.push_str(AGENT);
    }
    let mut message = Message::default();
    message.line(&asked);
    let shallow = capabilities.has("shallow");
    if shallow {
        for id in want.shallow {
            message.line(&format!("shallow {id}"));
        }
        message.line(&format!("deepen {}", want.depth.commits()));
    }
    message.flush();
    for id in want.have.iter().filter(|_| shallow) {
        message.line(&format!("have {id}"));
    }
    message.line("done");
    Ok(message.into_bytes())
}

/// Up to the section of the pack.
fn after_sections<T: Talk>(mut packets: Packets<T>) -> Result<Sideband<T>, SmartError> {
    loop {
        match packets.talk()? {
            Packet::Data(line) if line.strip_suffix(b"\n").unwrap_or(line) == b"packfile" => {
                return Ok(Sideband::new(packets, None)?);
            }
            Packet::Data(_) | Packet::Delimiter => {}
            Packet::Flush => return Err(Error::Framing("an answer without a pack").into()),
        }
    }
}

/// Up to the first packet of a side-band.
fn after_acknowledgments<T: Talk>(mut packets: Packets<T>) -> Result<Sideband<T>, SmartError> {
    loop {
        let first = match packets.talk()? {
            // Between the shallow commits and the rest.
            Packet::Flush => continue,
            Packet::Delimiter => return Err(Error::Framing("a delimiter before a pack").into()),
            Packet::Data(data) => {
                let said = [&b"shallow "[..], b"unshallow ", b"ACK ", b"NAK"];
                if said.iter().any(|word| data.starts_with(word)) {
                    continue;
                }
                data.to_vec()
            }
        };
        return Ok(Sideband::new(packets, Some(first))?);
    }
}

//! What a server says first (gitprotocol-pack(5), gitprotocol-v2(5)): the version of the protocol that it speaks, what it can
//! do, and before version 2 all its refs.

use std::io::Read;

use gix::ObjectId;

use crate::{
    Error,
    packet::{Packet, Packets},
};

/// Capabilities of one server, as it names them.
#[derive(Clone, Debug, Default)]
pub struct Capabilities(Vec<String>);

/// Of a server that speaks version 2, which needs no greeting a second time.
#[derive(Clone, Debug)]
pub struct Known(pub Capabilities);

/// What a server greets with.
pub enum Greeting {
    /// Version 2, whose refs are asked for.
    V2(Known),
    /// Versions 0 and 1, which are the same but for a word.
    V0(Capabilities),
}

impl Capabilities {
    /// What a capability is said to be: of `name=value` the value, of `name` nothing.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|said| match said.split_once('=') {
            Some((said, value)) if said == name => Some(value),
            None if said == name => Some(""),
            _ => None,
        })
    }

    /// Whether it is among them.
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether `feature` is among the words that a capability is said to be.
    pub fn feature(&self, name: &str, feature: &str) -> bool {
        self.value(name).is_some_and(|value| value.split(' ').any(|word| word == feature))
    }

    /// What HEAD names, where it is said: in full.
    pub fn head(&self) -> Option<&str> {
        self.0.iter().find_map(|said| said.strip_prefix("symref=HEAD:"))
    }

    fn check(&self) -> Result<(), Error> {
        match self.value("object-format") {
            None | Some("sha1") => Ok(()),
            Some(_) => Err(Error::Sha256),
        }
    }
}

/// The id and the name of a ref's line.
///
/// # Errors
/// A line without one of them.
pub(crate) fn named(line: &[u8]) -> Result<(ObjectId, &[u8]), Error> {
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (Some(id), Some(name)) = (words.next(), words.next()) else {
        return Err(Error::Framing("a ref without an id or a name"));
    };
    Ok((ObjectId::from_hex(id).map_err(|_| Error::Framing("a ref without an id"))?, name))
}

/// Reads a greeting; the lines of refs that come with it, an id and a name each, go to `refs`.
///
/// # Errors
/// What is no greeting, a repository of another hash than SHA-1, those of `packets`, and those of `refs`.
pub fn read(
    packets: &mut Packets<impl Read>,
    refs: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Greeting, Error> {
    let Some(mut first) = packets.line()?.map(<[u8]>::to_vec) else {
        // A repository without a ref may be told so, before version 2.
        return Ok(Greeting::V0(Capabilities::default()));
    };
    if first.starts_with(b"# service=") {
        // Over HTTP; the flush after it may be missing.
        first = match packets.line()? {
            Some(line) => line.to_vec(),
            None => match packets.line()? {
                Some(line) => line.to_vec(),
                None => return Ok(Greeting::V0(Capabilities::default())),
            },
        };
    }
    match &first[..] {
        b"version 2" => {
            let mut capabilities = Vec::new();
            while let Some(line) = packets.line()? {
                capabilities.push(text(line));
            }
            let capabilities = Capabilities(capabilities);
            capabilities.check()?;
            Ok(Greeting::V2(Known(capabilities)))
        }
        b"version 1" => {
            let first = packets.line()?.map(<[u8]>::to_vec);
            first.map_or_else(|| Ok(Greeting::V0(Capabilities::default())), |first| old(packets, refs, &first))
        }
        _ => old(packets, refs, &first),
    }
}

fn old(
    packets: &mut Packets<impl Read>,
    refs: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    first: &[u8],
) -> Result<Greeting, Error> {
    let nul = first.iter().position(|byte| *byte == 0);
    let (line, said) = nul.map_or((first, &[][..]), |nul| (&first[..nul], &first[nul + 1..]));
    let capabilities = Capabilities(text(said).split(' ').map(str::to_owned).collect());
    capabilities.check()?;
    // Of a repository without a ref, a line that only carries the capabilities.
    if !line.ends_with(b" capabilities^{}") {
        refs(line)?;
    }
    loop {
        match packets.talk()? {
            Packet::Data(data) => {
                let line = data.strip_suffix(b"\n").unwrap_or(data);
                if !line.starts_with(b"shallow ") {
                    refs(line)?;
                }
            }
            Packet::Flush => return Ok(Greeting::V0(capabilities)),
            Packet::Delimiter => return Err(Error::Framing("a delimiter among refs")),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

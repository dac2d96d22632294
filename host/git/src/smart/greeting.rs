//! What a server says first: the version of the protocol that it speaks, what it can do, and before version 2 all its refs.

use std::io::Read;

use super::{
    SmartError,
    packet::{Packet, Packets},
    refs::Tips,
};

/// What we are called: forges look at how it begins.
pub(crate) const AGENT: &str = concat!("git/atoll-", env!("CARGO_PKG_VERSION"));

/// Capabilities of one server, as it names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Capabilities(Vec<String>);

/// Of a server that speaks version 2, which needs no greeting a second time.
#[derive(Clone, Debug)]
pub(crate) struct Known(pub(crate) Capabilities);

pub(crate) enum Greeting {
    V2(Known),
    /// Versions 0 and 1, which are the same but for a word.
    V0(Capabilities),
}

impl Capabilities {
    /// What a capability is said to be: of `name=value` the value, of `name` nothing.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|said| match said.split_once('=') {
            Some((said, value)) if said == name => Some(value),
            None if said == name => Some(""),
            _ => None,
        })
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Whether `feature` is among the words that a capability is said to be.
    pub(crate) fn feature(&self, name: &str, feature: &str) -> bool {
        self.value(name).is_some_and(|value| value.split(' ').any(|word| word == feature))
    }

    fn check(&self) -> Result<(), SmartError> {
        match self.value("object-format") {
            None | Some("sha1") => Ok(()),
            Some(_) => Err(SmartError::Sha256),
        }
    }
}

/// Reads a greeting; refs that come with it go to `tips`.
pub(crate) fn read(packets: &mut Packets<impl Read>, tips: &mut Tips) -> Result<Greeting, SmartError> {
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
            first.map_or_else(|| Ok(Greeting::V0(Capabilities::default())), |first| old(packets, tips, &first))
        }
        _ => old(packets, tips, &first),
    }
}

fn old(packets: &mut Packets<impl Read>, tips: &mut Tips, first: &[u8]) -> Result<Greeting, SmartError> {
    let nul = first.iter().position(|byte| *byte == 0);
    let (line, said) = nul.map_or((first, &[][..]), |nul| (&first[..nul], &first[nul + 1..]));
    let capabilities = Capabilities(text(said).split(' ').map(str::to_owned).collect());
    capabilities.check()?;
    let head = capabilities.0.iter().find_map(|said| said.strip_prefix("symref=HEAD:"));
    if let Some(head) = head {
        tips.head_is(head);
    }
    // Of a repository without a ref, a line that only carries the capabilities.
    if !line.ends_with(b" capabilities^{}") {
        tips.line(line)?;
    }
    loop {
        match packets.talk()? {
            Packet::Data(data) => {
                let line = data.strip_suffix(b"\n").unwrap_or(data);
                if !line.starts_with(b"shallow ") {
                    tips.line(line)?;
                }
            }
            Packet::Flush => return Ok(Greeting::V0(capabilities)),
            Packet::Delimiter => return Err(SmartError::Framing("a delimiter among refs")),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

//! An agent that does what the file `orders` of its branch `orders` says, line by line, and says how each went.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use atoll::host::{
    publication::{Author, Failure, Staging},
    repository::{Branch, Error, Kind},
};
use exports::atoll::host::{
    agent::{Guest, Seconds},
    validation::{Guest as Validation, Problem},
};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package atoll:fixtures;
        world publishing {
            import atoll:host/repository@0.1.0;
            import atoll:host/publication@0.1.0;
            export atoll:host/agent@0.1.0;
            export atoll:host/validation@0.1.0;
        }
    ",
    world: "atoll:fixtures/publishing",
    generate_all,
});

struct Publisher;

export!(Publisher);

impl Guest for Publisher {
    async fn tick(_: Seconds) -> Result<Option<Seconds>, String> {
        let mut stagings = Vec::new();
        for line in orders().lines() {
            let said = follow(line, &mut stagings).await.unwrap_or_else(|failure| words(&failure));
            println!("{line}: {said}");
        }
        Ok(None)
    }
}

impl Validation for Publisher {
    fn validate() -> Vec<Problem> {
        let orders = orders();
        let Some(name) = orders.strip_prefix("validate ") else { return Vec::new() };
        let opened = wit_bindgen::block_on(Staging::open(name.trim().into()));
        let message = opened.map_or_else(|failure| words(&failure), |_| "opened".into());
        vec![Problem { file: None, line: None, message }]
    }
}

fn orders() -> String {
    let orders = Branch::open("orders").and_then(|branch| branch.contents("orders"));
    orders.map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_default()
}

async fn follow(line: &str, stagings: &mut Vec<Staging>) -> Result<String, Failure> {
    let mut parts = line.splitn(3, ' ');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (what, path, rest) = (next(), next().replace("\\0", "\0"), next());
    if what == "open" {
        let staging = Staging::open(path).await?;
        let revision = staging.base().revision();
        stagings.push(staging);
        return Ok(if revision.is_empty() { "nothing yet".into() } else { revision });
    }
    if what == "land" {
        return land(&path, rest.parse().unwrap()).await;
    }
    let Some(staging) = stagings.last() else { return Ok("nothing is open".into()) };
    match &*what {
        "write" => write(staging, path, Kind::File, rest.into_bytes()).await,
        "link" => write(staging, path, Kind::Symlink, rest.into_bytes()).await,
        "directory" => write(staging, path, Kind::Directory, rest.into_bytes()).await,
        // So many bytes, though it never has them all.
        "fill" => write(staging, path, Kind::File, vec![b'x'; rest.parse().unwrap()]).await,
        "read" => {
            let contents = staging.base().contents(&path).map_err(Failure::Failed)?;
            Ok(String::from_utf8(contents).unwrap())
        }
        // What the base has elsewhere.
        "copy" => {
            let entry = staging.base().entry(&rest).map_err(Failure::Failed)?;
            staging.place(&path, entry.kind, &entry.id).map(|()| "placed".into())
        }
        "place" => staging.place(&path, Kind::File, &rest).map(|()| "placed".into()),
        "remove" => staging.remove(&path).map(|()| "removed".into()),
        "many" => {
            for at in 0..rest.parse().unwrap() {
                staging.remove(&format!("{path}{at}")).or_else(|failure| match failure {
                    Failure::Failed(Error::NotFound) => Ok(()),
                    failure => Err(failure),
                })?;
            }
            Ok("done".into())
        }
        "commit" => {
            let author = Author { name: path, email: "pub@example.org".into() };
            Staging::commit(stagings.pop().unwrap(), author, rest).await
        }
        _ => Ok("that is no order".into()),
    }
}

/// So many commits of one file each, below `folder`, each begun again where somebody else was first.
async fn land(folder: &str, count: usize) -> Result<String, Failure> {
    let mut conflicts = 0;
    for at in 0..count {
        loop {
            let staging = Staging::open("site".into()).await?;
            let path = format!("{folder}/{at}");
            write(&staging, path.clone(), Kind::File, at.to_string().into_bytes()).await?;
            let author = Author { name: "Ann".into(), email: "pub@example.org".into() };
            match Staging::commit(staging, author, path).await {
                Ok(_) => break,
                Err(Failure::Conflict) => conflicts += 1,
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(format!("{conflicts} conflicts"))
}

async fn write(staging: &Staging, path: String, kind: Kind, contents: Vec<u8>) -> Result<String, Failure> {
    let (mut to, stream) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        to.write_all(contents).await;
    });
    staging.write(path, kind, stream).await
}

fn words(failure: &Failure) -> String {
    match failure {
        Failure::Conflict => "conflict".into(),
        Failure::Unreachable(words) => format!("unreachable: {words}"),
        Failure::Refused(words) => format!("refused: {words}"),
        Failure::Failed(Error::NotFound) => "not found".into(),
        Failure::Failed(Error::Denied) => "denied".into(),
        Failure::Failed(Error::TooLarge) => "too large".into(),
        Failure::Failed(Error::Corrupt(words)) => format!("corrupt: {words}"),
        Failure::Failed(Error::Other(words)) => words.clone(),
    }
}

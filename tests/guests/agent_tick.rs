//! An agent that does nothing each hour, and says so.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use exports::atoll::host::agent::{Guest, Seconds};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package atoll:fixtures;
        world ticking {
            export atoll:host/agent@0.1.0;
        }
    ",
    world: "atoll:fixtures/ticking",
    generate_all,
});

struct Agent;

export!(Agent);

impl Guest for Agent {
    async fn tick(now: Seconds) -> Result<Option<Seconds>, String> {
        println!("tick at {now}: nothing due");
        Ok(Some(now + 3600))
    }
}

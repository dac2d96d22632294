//! Every `bindgen!` of the crate. Only `capability` and what calls an export may name what is generated here.

#![allow(clippy::pedantic, unreachable_pub, missing_docs, reason = "generated code")]

/// `router`: all of our interfaces that a router may import.
pub(crate) mod router {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "atoll:host/router",
        imports: {
            "atoll:host/repository.[method]branch.entry": async | trappable,
            "atoll:host/repository.[method]branch.children": async | trappable,
            "atoll:host/repository.[method]branch.size": async | trappable,
            "atoll:host/repository.[method]branch.contents": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        with: {
            "atoll:host/repository.branch": crate::capability::repository::OpenBranch,
            "atoll:host/request-head.request": crate::capability::request_head::Request,
        },
        require_store_data_send: true,
    });
}

/// `validated`: looked up by name on any instance.
pub(crate) mod validated {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "atoll:host/validated",
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// `agent` alone: its imports are linked from where they are generated.
pub(crate) mod agent {
    wasmtime::component::bindgen!({
        inline: "
            package atoll:agent-export;
            world ticking { export atoll:host/agent@0.1.0; }
        ",
        path: "../../wit",
        world: "atoll:agent-export/ticking",
        exports: { default: async | store },
        require_store_data_send: true,
    });
}

/// `publication`, with what it shares with `repository` from there.
pub(crate) mod publishing {
    wasmtime::component::bindgen!({
        inline: "
            package atoll:publication-import;
            world publishing { import atoll:host/publication@0.1.0; }
        ",
        path: "../../wit",
        world: "atoll:publication-import/publishing",
        imports: {
            "atoll:host/publication.[static]staging.open": async | store | trappable,
            "atoll:host/publication.[method]staging.write": async | store | trappable,
            "atoll:host/publication.[static]staging.commit": async | store | trappable,
            "atoll:host/publication.[method]staging.place": async | trappable,
            "atoll:host/publication.[method]staging.remove": async | trappable,
            default: trappable,
        },
        with: {
            "atoll:host/repository": crate::bindings::router::atoll::host::repository,
            "atoll:host/publication.staging": crate::capability::publication::OpenStaging,
        },
        require_store_data_send: true,
    });
}

pub(crate) use publishing::atoll::host::publication;
pub(crate) use router::atoll::host::{repository, request_head, upstreams};

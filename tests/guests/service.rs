//! What the guests that are services share: bindings of `wasi:http/service` with all that the host may grant beside it, and
//! responses in one line.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, clippy::pedantic, unreachable_pub, reason = "generated")]

use wasi::http::types::{ErrorCode, Fields, Response};

wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package atoll:fixtures;
        world service {
            include wasi:http/service@0.3.0;
            import atoll:host/repository@0.1.0;
        }
    ",
    world: "atoll:fixtures/service",
    pub_export_macro: true,
    default_bindings_module: "guests",
    generate_all,
});

/// A response whose body is written by the guest, after it was handed over.
pub fn text(status: u16, fields: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Result<Response, ErrorCode> {
    let body = body.into();
    let (mut writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(body).await;
    });
    respond(status, fields, Some(reader))
}

/// A response with `contents`, without trailers.
pub fn respond(
    status: u16,
    fields: &[(&str, &str)],
    contents: Option<wit_bindgen::StreamReader<u8>>,
) -> Result<Response, ErrorCode> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
    let fields = Fields::from_list(&fields).map_err(|error| refused(&error))?;
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(fields, contents, trailers);
    response.set_status_code(status).map_err(|()| refused("the status"))?;
    Ok(response)
}

/// Something that the host would not take.
pub fn refused(what: impl std::fmt::Debug) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("the host refused {what:?}")))
}

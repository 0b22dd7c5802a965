//! Web pages: what they say and how requests for them are answered, without sockets
//! (spec: operations §4).
//!
//! | module | what it is |
//! |---|---|
//! | [`information`] | the page about this server |
//! | [`site`] | all pages, written into a folder |
//! | [`path`] | what a request asks for, and what it may not ask for |
//! | [`folder`] | answers requests from a folder |

pub mod folder;
pub mod information;
pub mod path;
mod range;
pub mod site;

pub use folder::Folder;
pub use information::Build;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};

/// A request without its body, which nothing here needs.
pub type Request = http::Request<()>;
/// A complete response.
pub type Response = http::Response<Bytes>;

/// A response of plain text.
pub fn text(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    response
}

/// Answers what only reads, with `answer`, and refuses everything else.
pub fn reading(request: &Request, answer: impl FnOnce(&Request) -> Response) -> Response {
    match *request.method() {
        Method::GET => answer(request),
        Method::HEAD => answer(request).map(|_| Bytes::new()),
        _ => {
            let mut refused = text(
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET or HEAD is supported",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            refused
        }
    }
}

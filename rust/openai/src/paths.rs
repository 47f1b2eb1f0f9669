//! Which resource a path names, as the app behind us reads it.
//!
//! Frameworks route by the path less the root path below which they are mounted, percent-decoded
//! once by the server. Some of them also collapse slashes, resolve dots, decode again or ignore
//! case. The gateway itself is exact: another spelling of one of its paths is unknown. In front of
//! a wrapped app the stricter reading holds: a path that any of these readings takes for a guarded
//! path or a model call is one.

use nemorouter_core::call::endpoint;

/// Paths of model calls below `/v1`, with the number that `types.Endpoint` gives them.
pub const CALLS: [(&str, u8); 6] = [
    ("/chat/completions", endpoint::CHAT_COMPLETIONS),
    ("/completions", endpoint::COMPLETIONS),
    ("/responses", endpoint::RESPONSES),
    ("/embeddings", endpoint::EMBEDDINGS),
    ("/images/generations", endpoint::IMAGES),
    ("/moderations", endpoint::MODERATIONS),
];
/// What every path of the API begins with.
pub const ROOT: &str = "/v1";

/// Times that a path is decoded in search of another reading of it.
const DECODINGS: usize = 3;

/// A resource of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A model call, by the number of its endpoint.
    Call(u8),
    /// The list of models.
    Models,
    /// One model, by its id.
    Model(&'a str),
    Health,
    Ready,
    Metrics,
    /// Below `/v1`, or another spelling of something there: nothing of that name.
    Unknown,
    /// A path of the API without `/v1`: the client's base URL is wrong.
    WithoutRoot,
    /// The control plane's.
    Elsewhere,
}

impl Place<'_> {
    /// The value of `Allow`, for a resource of the gateway.
    #[must_use]
    pub fn allow(self) -> &'static str {
        match self {
            Self::Call(_) => "POST",
            Self::Models | Self::Model(_) => "GET",
            Self::Health | Self::Ready | Self::Metrics => "GET, HEAD",
            Self::Unknown | Self::WithoutRoot | Self::Elsewhere => "",
        }
    }

    /// The resource's name, for a driver that serves it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Call(_) => "call",
            Self::Models => "models",
            Self::Model(_) => "model",
            Self::Health => "health",
            Self::Ready => "ready",
            Self::Metrics => "metrics",
            Self::Unknown => "unknown",
            Self::WithoutRoot => "without_root",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// Find the gateway's resource at `path`, which the server decoded, below `root`.
#[must_use]
pub fn locate<'a>(path: &'a str, root: &str) -> Place<'a> {
    let path = below(path, root).unwrap_or(path);
    match path {
        "/healthz" => return Place::Health,
        "/readyz" => return Place::Ready,
        "/metrics" => return Place::Metrics,
        _ => {}
    }
    if let Some(rest) = path.strip_prefix(ROOT)
        && matches!(rest.as_bytes().first(), None | Some(b'/'))
    {
        return match rest.strip_prefix("/models") {
            Some("") => Place::Models,
            Some(id) if id.starts_with('/') && is_model(&id[1..]) => Place::Model(&id[1..]),
            _ => call(rest).map_or(Place::Unknown, Place::Call),
        };
    }
    if readings(path).any(|reading| is_below(&reading, ROOT)) {
        Place::Unknown
    } else if lacks_root(path) {
        Place::WithoutRoot
    } else {
        Place::Elsewhere
    }
}

/// The endpoint of a path below `/v1`.
fn call(path: &str) -> Option<u8> {
    CALLS.iter().find(|(known, _)| *known == path).map(|(_, endpoint)| *endpoint)
}

/// True if `id` can be a model's: it may hold slashes, but no empty or dot segments.
fn is_model(id: &str) -> bool {
    id.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// True for a path of `OpenAI`'s or Azure's API that lacks `/v1`.
fn lacks_root(path: &str) -> bool {
    call(path).is_some()
        || path.starts_with("/openai/deployments/")
        || path.starts_with("/openai/v1/")
        || path == "/models"
}

/// `path` less the root path that an app is mounted below, if it begins with it.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(root.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// True if `path` is `root` or lies below it.
fn is_below(path: &str, root: &str) -> bool {
    below(path, root).is_some()
}

/// Which paths of a wrapped app need a key.
#[derive(Clone, Debug)]
pub struct Guard {
    /// In lower case and without a slash at the end.
    roots: Vec<String>,
}

impl Guard {
    /// Guard `roots` and all that lies below them. Errors with the root that does not begin with a
    /// slash.
    pub fn new(roots: &[String]) -> Result<Self, String> {
        if let Some(wrong) = roots.iter().find(|root| !root.starts_with('/')) {
            return Err(wrong.clone());
        }
        let plain = |root: &String| root.trim_end_matches('/').to_lowercase();
        Ok(Self { roots: roots.iter().map(plain).collect() })
    }

    /// The endpoint of a guarded request, `endpoint::OTHER` where it is no model call; `None` for a
    /// path that nobody guards. `path` is decoded once, and holds `root` or does not.
    #[must_use]
    pub fn judge(&self, method: &str, path: &str, root: &str) -> Option<u8> {
        let is_post = method.eq_ignore_ascii_case("POST");
        let mut guarded = false;
        let inner = below(path, root).filter(|_| !root.is_empty());
        for start in [Some(path), inner].into_iter().flatten() {
            for reading in readings(start) {
                if let Some(rest) = below(&reading, ROOT)
                    && let Some(endpoint) = call(rest).filter(|_| is_post)
                    && self.guards(&reading)
                {
                    return Some(endpoint);
                }
                guarded = guarded || self.guards(&reading);
            }
        }
        guarded.then_some(endpoint::OTHER)
    }

    fn guards(&self, path: &str) -> bool {
        self.roots.iter().any(|root| is_below(path, root))
    }
}

/// Ways in which a framework may read a path: as it is, and with dots resolved; decoded again, and
/// again.
fn readings(path: &str) -> impl Iterator<Item = String> {
    let mut next = Some(path.to_owned());
    std::iter::from_fn(move || {
        let text = next.take()?;
        next = decode(&text).filter(|decoded| *decoded != text);
        Some([normalise(&text, false), normalise(&text, true)])
    })
    .take(1 + DECODINGS)
    .flatten()
}

/// In lower case, with forward slashes, none of them doubled or last; without parameters behind a
/// semicolon; with dot segments resolved if `resolve`.
fn normalise(path: &str, resolve: bool) -> String {
    let plain = path.to_lowercase().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in plain.split('/') {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment.trim_matches(|c: char| c.is_whitespace() || c.is_control()) {
            "" => {}
            "." if resolve => {}
            ".." if resolve => _ = segments.pop(),
            other => segments.push(other),
        }
    }
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

/// Percent-decoded; `None` without anything to decode.
#[must_use]
pub fn decode(text: &str) -> Option<String> {
    text.contains('%').then(|| String::from_utf8_lossy(&decode_bytes(text.as_bytes())).into_owned())
}

/// Bytes with each `%` and two digits replaced by the byte that they stand for.
pub(crate) fn decode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, others)) = rest.split_first() {
        let digits = others.first_chunk::<2>().filter(|_| first == b'%');
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let byte = digits.and_then(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        plain.push(byte.map_or(first, |byte| byte as u8));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_reads_exactly() {
        for (path, root, place) in [
            ("/v1/chat/completions", "", Place::Call(endpoint::CHAT_COMPLETIONS)),
            ("/gw/v1/embeddings", "/gw", Place::Call(endpoint::EMBEDDINGS)),
            ("/gw/v1/embeddings", "/gw/", Place::Call(endpoint::EMBEDDINGS)),
            ("/v1/embeddings", "/gw", Place::Call(endpoint::EMBEDDINGS)),
            ("/v1/models", "", Place::Models),
            ("/v1/models/org/m:t", "", Place::Model("org/m:t")),
            ("/v1/models/", "", Place::Unknown),
            ("/v1/models//x", "", Place::Unknown),
            ("/v1/models/../models", "", Place::Unknown),
            ("/v1/modelsx", "", Place::Unknown),
            ("/v1", "", Place::Unknown),
            ("/v1/chat/completions/", "", Place::Unknown),
            ("/V1/chat/completions", "", Place::Unknown),
            ("//v1/chat/completions", "", Place::Unknown),
            ("/a/../v1/chat/completions", "", Place::Unknown),
            ("/%2576%31/x", "", Place::Unknown),
            ("/v1/chat/completions;x", "", Place::Unknown),
            ("/v1/chat/completions\0", "", Place::Unknown),
            ("/chat/completions", "", Place::WithoutRoot),
            ("/gw/embeddings", "/gw", Place::WithoutRoot),
            ("/openai/deployments/m/chat/completions", "", Place::WithoutRoot),
            ("/openai/keys", "", Place::Elsewhere),
            ("/healthz", "", Place::Health),
            ("/gw/readyz", "/gw", Place::Ready),
            ("/metrics", "", Place::Metrics),
            ("/v10/x", "", Place::Elsewhere),
            ("/gwv1/embeddings", "/gw", Place::Elsewhere),
            ("/login", "", Place::Elsewhere),
            ("", "", Place::Elsewhere),
        ] {
            assert_eq!(locate(path, root), place, "{path} below {root}");
        }
    }

    fn judged(path: &str, root: &str) -> Option<u8> {
        let guard = Guard::new(&["/v1".into(), "/private/".into()]).expect("roots");
        guard.judge("POST", path, root)
    }

    #[test]
    fn a_guarded_path_is_guarded_however_it_is_spelt() {
        for path in [
            "/v1",
            "/v1/x",
            "/V1/x",
            "//v1/x",
            "/a/../v1/x",
            "/./v1",
            "/%76%31/x",
            "/%2576%2531/x",
            "/v1\\x",
            "\\v1\\x",
            "/private",
            "/private/a",
            "/v1/../open",
            "/v1;a/x",
            "v1/x",
            "/v1 /x",
            "/v1\0/x",
        ] {
            assert_eq!(judged(path, ""), Some(endpoint::OTHER), "{path}");
        }
        for path in ["/", "", "/v10", "/v2/v1", "/privately", "/v1x/../open", "/open"] {
            assert_eq!(judged(path, ""), None, "{path}");
        }
        assert_eq!(Guard::new(&["v1".into()]).err(), Some("v1".to_owned()));
    }

    #[test]
    fn the_root_path_hides_nothing() {
        for (path, root) in [
            ("/gw/v1/x", "/gw"),
            ("/gw/v1/x", "/gw/"),
            ("/v1/x", "/gw"),
            ("/gw//v1/x", "/gw"),
            ("/gw/%76%31/x", "/gw"),
            ("/a/b/private", "/a/b"),
        ] {
            assert_eq!(judged(path, root), Some(endpoint::OTHER), "{path} below {root}");
        }
        assert_eq!(judged("/gw/v1/x", ""), None);
        assert_eq!(judged("/gw/open", "/gw"), None);
        assert_eq!(judged("/gw/v1/embeddings", "/gw"), Some(endpoint::EMBEDDINGS));
    }

    #[test]
    fn a_model_call_is_one_however_it_is_spelt() {
        for path in [
            "/v1/chat/completions",
            "/v1/%63hat/completions",
            "/v1/chat/completions/",
            "/v1//chat/completions",
            "/v1/x/../chat/completions",
            "/V1/Chat/completions",
            "/v1/chat/completions;x=1",
        ] {
            assert_eq!(judged(path, ""), Some(endpoint::CHAT_COMPLETIONS), "{path}");
        }
        let all = Guard::new(&["/".into()]).expect("a root");
        assert_eq!(all.judge("POST", "/v1/responses", ""), Some(endpoint::RESPONSES));
        assert_eq!(all.judge("GET", "/v1/responses", ""), Some(endpoint::OTHER));
        assert_eq!(all.judge("GET", "/anything", ""), Some(endpoint::OTHER));
        let other = Guard::new(&["/private".into()]).expect("a root");
        assert_eq!(other.judge("POST", "/v1/responses", ""), None);
    }

    #[test]
    fn decoding_leaves_what_is_no_escape() {
        assert_eq!(decode("a%2Fb%zz%4").as_deref(), Some("a/b%zz%4"));
        assert_eq!(decode("plain"), None);
    }
}

//! A client that tells an answer from a refusal and from not knowing.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body, Error};

/// How often a request goes on to where it is sent.
const HOPS: usize = 5;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It was answered; of a read, the value.
    Done(Option<String>),
    /// It was not carried out.
    NotDone,
    /// It may have been, or may still be.
    Unknown,
}

pub(crate) struct Client {
    agent: Agent,
    nodes: Vec<String>,
}

impl Client {
    pub(crate) fn new(nodes: &[String]) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(6)))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            // A node that was killed leaves connections that nobody answers.
            .max_idle_connections(0)
            .build()
            .into();
        Self { agent, nodes: nodes.to_vec() }
    }

    fn url(&self, node: u64, place: &str) -> String {
        let node = self.nodes.get(usize::try_from(node).unwrap()).unwrap();
        format!("http://{node}/{place}")
    }

    pub(crate) fn get(&self, node: u64, key: &str) -> Outcome {
        Self::follow(self.url(node, &format!("keys/{key}")), |url| self.agent.get(url).call())
    }

    pub(crate) fn put(&self, node: u64, key: &str, value: &str) -> Outcome {
        Self::follow(self.url(node, &format!("keys/{key}")), |url| self.agent.put(url).send(value))
    }

    pub(crate) fn delete(&self, node: u64, key: &str) -> Outcome {
        Self::follow(self.url(node, &format!("keys/{key}")), |url| self.agent.delete(url).call())
    }

    /// Everything that a node has applied.
    pub(crate) fn local(&self, node: u64) -> Option<BTreeMap<String, String>> {
        serde_json::from_str(&self.page(node, "local").ok()?).ok()
    }

    /// Where a node's groups stand, in its own words.
    pub(crate) fn status(&self, node: u64) -> String {
        self.page(node, "status").unwrap_or_else(|error| error.to_string())
    }

    fn page(&self, node: u64, place: &str) -> Result<String, Error> {
        self.agent.get(self.url(node, place)).call()?.body_mut().read_to_string()
    }

    fn follow(mut url: String, call: impl Fn(&str) -> Result<Response<Body>, Error>) -> Outcome {
        for _ in 0..HOPS {
            let mut answer = match call(&url) {
                Ok(answer) => answer,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Outcome::NotDone;
                }
                Err(_) => return Outcome::Unknown,
            };
            match answer.status() {
                StatusCode::OK => {
                    let body = answer.body_mut().read_to_string();
                    return body.map_or(Outcome::Unknown, |body| Outcome::Done(Some(body)));
                }
                StatusCode::NOT_FOUND => return Outcome::Done(None),
                StatusCode::TEMPORARY_REDIRECT => {
                    let to = answer.headers().get(header::LOCATION).unwrap();
                    to.to_str().unwrap().clone_into(&mut url);
                }
                _ => return Outcome::Unknown,
            }
        }
        Outcome::NotDone
    }
}

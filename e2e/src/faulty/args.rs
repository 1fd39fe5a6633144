//! The arguments of the real server: its own, but for where it listens.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;

/// What a faulty server was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// `serve`: the proxy listens where the server would, and the server behind it.
    Serve {
        /// Where the proxy listens.
        outside: SocketAddr,
        /// Where the server does.
        inside: SocketAddr,
        /// The server's arguments.
        inner: Vec<String>,
    },
    /// All else is the real program's.
    Other(Vec<String>),
}

impl Arguments {
    /// Reads them.
    ///
    /// # Errors
    /// When `serve` is not told where to listen.
    pub fn parse(all: Vec<String>) -> anyhow::Result<Self> {
        if all.first().map(String::as_str) != Some("serve") {
            return Ok(Self::Other(all));
        }
        let (mut outside, mut inner, mut next_is_it) = (None, Vec::new(), false);
        for arg in all {
            let value = if next_is_it {
                Some(arg.clone())
            } else {
                arg.strip_prefix("--listen=").map(str::to_owned)
            };
            next_is_it = arg == "--listen";
            match value {
                Some(value) => outside = Some(value),
                None if next_is_it => {}
                None => inner.push(arg),
            }
        }
        let outside = outside.context("no --listen: say where the proxy listens")?;
        let outside: SocketAddr = outside.parse().with_context(|| outside.clone())?;
        let behind = outside
            .port()
            .checked_add(1)
            .context("no port behind the last one")?;
        let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, behind));
        inner.push(format!("--listen={inside}"));
        Ok(Self::Serve {
            outside,
            inside,
            inner,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> anyhow::Result<Arguments> {
        Arguments::parse(words.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn the_server_listens_behind_the_proxy_and_has_all_other_flags() {
        for words in [
            "serve --model m --listen [::]:8000 --revision r",
            "serve --model m --listen=[::]:8000 --revision r",
        ] {
            let Arguments::Serve {
                outside,
                inside,
                inner,
            } = parse(words).unwrap()
            else {
                panic!("{words}");
            };
            assert_eq!(outside.to_string(), "[::]:8000");
            assert_eq!(inside.to_string(), "127.0.0.1:8001");
            let flags = "serve --model m --revision r --listen=127.0.0.1:8001";
            assert_eq!(inner.join(" "), flags);
        }
    }

    #[test]
    fn what_does_not_serve_is_the_real_program_s() {
        let other = parse("verify --json /models").unwrap();
        assert!(matches!(other, Arguments::Other(all) if all.len() == 3));
        assert!(parse("serve --model m").is_err());
    }
}

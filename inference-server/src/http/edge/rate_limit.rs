//! How often one caller may ask, in this process.
//!
//! A generic cell rate algorithm: one instant a caller. Invariant: memory is bounded; when there are
//! more callers than it holds, the newest share one bucket, so that nobody escapes the limit by
//! coming under many names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::auth::Caller;

/// Callers that are told apart.
const CALLERS: usize = 100_000;

/// Who shares a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Per {
    /// The subject of the credentials; the address where there is none.
    #[default]
    Subject,
    /// The client's address.
    Address,
}

/// How often one caller may ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Time that one request takes of a caller's budget.
    interval: Duration,
    /// Requests that may come at once.
    burst: u32,
    per: Per,
}

impl FromStr for Rate {
    type Err = String;

    /// Reads `60/m`, with `,burst=10` and `,per=address` where wanted.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no rate: write 60/m, or 60/m,burst=10,per=subject|address");
        let mut parts = text.split(',');
        let (count, unit) = parts
            .next()
            .and_then(|p| p.split_once('/'))
            .ok_or_else(wrong)?;
        let count: u32 = count.parse().ok().filter(|c| *c > 0).ok_or_else(wrong)?;
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return Err(wrong()),
        };
        let interval = Duration::from_secs(unit) / count;
        let (mut burst, mut per) = (count, Per::default());
        for part in parts {
            match part.split_once('=') {
                Some(("burst", value)) => {
                    burst = value.parse().ok().filter(|b| *b > 0).ok_or_else(wrong)?;
                }
                Some(("per", "subject")) => per = Per::Subject,
                Some(("per", "address")) => per = Per::Address,
                Some(_) | None => return Err(wrong()),
            }
        }
        if interval.is_zero() {
            return Err(wrong());
        }
        Ok(Self {
            interval,
            burst,
            per,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Subject(String),
    Address(IpAddr),
    /// All those that there was no room for.
    Others,
}

/// The callers of a process, and when each has its whole budget again.
#[derive(Debug)]
pub(crate) struct Limiter {
    rate: Rate,
    callers: Mutex<HashMap<Key, Instant>>,
    most: usize,
}

impl Limiter {
    pub(crate) fn new(rate: Rate) -> Self {
        Self {
            rate,
            callers: Mutex::default(),
            most: CALLERS,
        }
    }

    /// Takes one unit; the error is how long to wait for it.
    pub(super) fn take(&self, caller: &Caller) -> Result<(), Duration> {
        self.take_at(self.key(caller), Instant::now())
    }

    fn key(&self, caller: &Caller) -> Key {
        let subject = caller
            .subject
            .clone()
            .filter(|_| self.rate.per == Per::Subject);
        match (subject, caller.address) {
            (Some(subject), _) => Key::Subject(subject),
            (None, Some(address)) => Key::Address(network(address)),
            (None, None) => Key::Others,
        }
    }

    fn take_at(&self, key: Key, now: Instant) -> Result<(), Duration> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if callers.len() >= self.most && !callers.contains_key(&key) {
            // Whoever has its whole budget is as good as new.
            callers.retain(|_, full| *full > now);
        }
        let key = if callers.len() >= self.most && !callers.contains_key(&key) {
            Key::Others
        } else {
            key
        };
        let entry = callers.entry(key);
        let full = match &entry {
            Entry::Occupied(full) => (*full.get()).max(now),
            Entry::Vacant(_) => now,
        };
        let next = full + self.rate.interval;
        let allowed = now + self.rate.interval * self.rate.burst;
        if next > allowed {
            return Err(next - allowed);
        }
        entry.insert_entry(next);
        Ok(())
    }
}

/// One host may have a whole /64 of IPv6 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let prefix = u128::from(v6) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: &str) -> Limiter {
        Limiter::new(rate.parse().unwrap())
    }

    fn key(name: &str) -> Key {
        Key::Subject(name.to_owned())
    }

    #[test]
    fn a_burst_passes_and_then_one_request_each_interval() {
        let limiter = limiter("60/m,burst=3");
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limiter.take_at(key("a"), start), Ok(()));
        }
        let wait = limiter.take_at(key("a"), start).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        assert_eq!(limiter.take_at(key("b"), start), Ok(()));
        assert_eq!(limiter.take_at(key("a"), start + wait), Ok(()));
        assert!(limiter.take_at(key("a"), start + wait).is_err());
    }

    #[test]
    fn a_minute_lets_no_more_through_than_burst_and_rate() {
        let limiter = limiter("60/m,burst=5");
        let start = Instant::now();
        let passed = (0..6_000)
            .filter(|i| {
                let now = start + Duration::from_millis(i * 10);
                limiter.take_at(key("a"), now).is_ok()
            })
            .count();
        assert!((64..=65).contains(&passed), "{passed}");
    }

    #[test]
    fn many_names_do_not_escape_the_limit_nor_fill_the_memory() {
        let mut limiter = limiter("60/m,burst=1");
        limiter.most = 10;
        let start = Instant::now();
        let passed = (0..1_000)
            .filter(|i| limiter.take_at(key(&i.to_string()), start).is_ok())
            .count();
        assert_eq!(passed, 11);
        assert!(limiter.callers.lock().unwrap().len() <= 11);
        let later = start + Duration::from_mins(1);
        assert_eq!(limiter.take_at(key("new"), later), Ok(()));
    }

    #[test]
    fn a_host_is_a_whole_network_of_ipv6() {
        let caller = |address: &str| Caller {
            claims: std::sync::Arc::default(),
            address: Some(address.parse().unwrap()),
            ..Caller::default()
        };
        let limiter = limiter("1/h");
        assert_eq!(limiter.take(&caller("2001:db8::1")), Ok(()));
        assert!(limiter.take(&caller("2001:db8::2")).is_err());
        assert_eq!(limiter.take(&caller("2001:db8:0:1::2")), Ok(()));
    }

    #[test]
    fn a_subject_is_one_caller_wherever_it_comes_from_unless_addresses_count() {
        let caller = |address: &str| Caller {
            claims: std::sync::Arc::default(),
            subject: Some("s".to_owned()),
            address: Some(address.parse().unwrap()),
            is_admin: false,
        };
        let subjects = limiter("1/h");
        assert_eq!(subjects.take(&caller("1.1.1.1")), Ok(()));
        assert!(subjects.take(&caller("2.2.2.2")).is_err());
        let addresses = limiter("1/h,per=address");
        assert_eq!(addresses.take(&caller("1.1.1.1")), Ok(()));
        assert_eq!(addresses.take(&caller("2.2.2.2")), Ok(()));
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in [
            "",
            "60",
            "0/m",
            "-1/m",
            "60/d",
            "60/m,burst=0",
            "60/m,per=me",
            "60/m,",
            "x/m",
            "60/m,burst",
        ] {
            assert!(text.parse::<Rate>().unwrap_err().contains("60/m"), "{text}");
        }
    }
}

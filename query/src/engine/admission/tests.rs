use std::collections::HashMap;
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::*;

const PLACES: Places = Places { running: 8, running_of_one: 4, waiting: 64, waiting_of_one: 32 };

fn admission(places: Places) -> Admission {
    Admission::new(places, Metrics::register(&mut Registry::default()))
}

/// One who asked for a place.
struct Asked {
    account: String,
    future: Option<BoxFuture<'static, Result<Place, QueryError>>>,
    place: Option<Place>,
}

impl Asked {
    fn new(admission: &Admission, account: &str) -> Self {
        let (admission, owned) = (admission.clone(), account.to_owned());
        let future = async move { admission.enter(&owned).await }.boxed();
        let mut asked = Self { account: account.to_owned(), future: Some(future), place: None };
        asked.poll();
        asked
    }

    /// Whether it has its place by now.
    fn poll(&mut self) -> bool {
        let waker = futures::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        if let Some(future) = &mut self.future
            && let Poll::Ready(place) = future.poll_unpin(&mut context)
        {
            self.place = place.ok();
            self.future = None;
        }
        self.place.is_some()
    }

    fn waits(&mut self) -> bool {
        self.poll();
        self.future.is_some()
    }
}

fn asked(admission: &Admission, account: &str, count: usize) -> Vec<Asked> {
    (0..count).map(|_| Asked::new(admission, account)).collect()
}

fn running(all: &mut [Asked]) -> usize {
    all.iter_mut().filter_map(|asked| asked.poll().then_some(())).count()
}

#[test]
fn a_first_query_does_not_wait_behind_sixty_four_of_another() {
    let admission = admission(Places { waiting_of_one: 64, ..PLACES });
    let mut acme = asked(&admission, "acme", 64);
    assert_eq!(running(&mut acme), 4);
    let mut globex = Asked::new(&admission, "globex");
    assert!(globex.poll());
}

#[test]
fn the_last_places_are_for_those_who_run_nothing() {
    let admission = admission(PLACES);
    let (mut acme, mut globex) = (asked(&admission, "acme", 10), asked(&admission, "globex", 10));
    assert_eq!(running(&mut acme) + running(&mut globex), 6);
    let mut first: Vec<Asked> = ["a", "b"].map(|name| Asked::new(&admission, name)).into();
    assert_eq!(running(&mut first), 2);
    // Now none is left, and whoever runs nothing is next, however long the others have waited.
    let mut late = Asked::new(&admission, "late");
    assert!(!late.poll());
    acme.remove(0);
    assert!(late.poll());
    assert_eq!(running(&mut acme) + running(&mut globex), 5);
}

#[test]
fn free_places_go_round_among_those_who_wait() {
    let admission = admission(Places { running: 1, running_of_one: 1, ..PLACES });
    let holder = Asked::new(&admission, "holder");
    let mut waiting = asked(&admission, "acme", 3);
    waiting.extend(asked(&admission, "globex", 3));
    waiting.extend(asked(&admission, "initech", 1));
    drop(holder);
    let mut order = Vec::new();
    while let Some(at) = waiting.iter_mut().position(Asked::poll) {
        order.push(waiting.remove(at).account.clone());
    }
    assert_eq!(order, ["acme", "globex", "initech", "acme", "globex", "acme", "globex"]);
}

#[test]
fn who_waits_too_much_is_turned_away_and_only_he() {
    let admission = admission(Places { waiting_of_one: 2, waiting: 3, ..PLACES });
    let mut acme = asked(&admission, "acme", 7);
    assert_eq!(running(&mut acme), 4);
    assert_eq!(acme.iter_mut().filter_map(|asked| asked.waits().then_some(())).count(), 2);
    let full = admission.enter("acme").now_or_never().unwrap().unwrap_err();
    assert!(full.code() == Code::TooBusy && full.to_string().starts_with("2 of your queries"), "{full}");
    assert!(Asked::new(&admission, "globex").poll());
    // Who gives up makes room in line.
    acme.retain_mut(|asked| !asked.waits());
    assert!(Asked::new(&admission, "acme").waits());
}

#[derive(Debug, Clone)]
enum Step {
    Ask(usize),
    /// Ends the so-manieth that runs or waits.
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![(0usize..5).prop_map(Step::Ask), (0usize..100).prop_map(Step::End)]
}

proptest! {
    /// Goal: whatever comes and goes in whatever order, limits hold, nobody waits
    /// in vain, and nothing is left in the end. Method: random arrivals and
    /// departures, running and waiting, with the invariants checked after each.
    #[test]
    fn limits_hold_and_no_place_is_lost(
        steps in prop::collection::vec(step(), 1..200),
        running in 1usize..10, one in 1usize..10, waiting in 0usize..10, waiting_one in 0usize..10,
    ) {
        let places = Places {
            running, running_of_one: one.min(running), waiting, waiting_of_one: waiting_one.min(waiting),
        };
        let admission = admission(places);
        let mut present: Vec<Asked> = Vec::new();
        for step in steps {
            match step {
                Step::Ask(account) => present.push(Asked::new(&admission, &format!("a{account}"))),
                Step::End(at) if !present.is_empty() => drop(present.remove(at % present.len())),
                Step::End(_) => {}
            }
            // Those who were turned away are gone.
            present.retain_mut(|asked| asked.poll() || asked.waits());
            let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
            for asked in &present {
                let count = counts.entry(asked.account.clone()).or_default();
                if asked.place.is_some() { count.0 += 1 } else { count.1 += 1 }
            }
            let run: usize = counts.values().map(|count| count.0).sum();
            let wait: usize = counts.values().map(|count| count.1).sum();
            prop_assert!(run <= places.running && wait <= places.waiting);
            for (own_run, own_wait) in counts.values() {
                prop_assert!(*own_run <= places.running_of_one && *own_wait <= places.waiting_of_one);
                prop_assert!(*own_wait == 0 || !places.leave_room(*own_run, run), "waits beside a free place");
            }
            let lines = admission.shared.lines();
            prop_assert_eq!((lines.running, lines.waiting, lines.of.len()), (run, wait, counts.len()));
        }
        drop(present);
        let lines = admission.shared.lines();
        prop_assert!(lines.running == 0 && lines.waiting == 0 && lines.of.is_empty());
    }
}

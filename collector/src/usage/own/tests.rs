use proptest::prelude::*;

use super::*;

const ROOT: u64 = 1;

/// A cgroup whose counters all stand at `count`.
fn reading(id: u64, parent: Option<u64>, count: u64) -> Reading {
    Reading {
        id,
        parent,
        path: format!("/{id}"),
        shared: [Some(count); SHARED],
        local: [Some(count); LOCAL],
        memory: Some(Memory::Charged { current_b: count, working_set_b: count }),
        has_processes: true,
    }
}

fn cpu_of(owns: &[Own], id: u64) -> u64 {
    owns.iter().find(|own| own.id == id).unwrap().shared[shared::CPU_NS].unwrap()
}

fn sum(owns: &[Own]) -> u64 {
    owns.iter().filter_map(|own| own.shared[shared::CPU_NS]).sum()
}

#[test]
fn a_parent_is_not_billed_for_its_children() {
    let mut accounts = Accounts::default();
    assert_eq!(accounts.interval(&[reading(1, None, 1000), reading(2, Some(1), 600)], true, 0.0), []);
    let owns = accounts.interval(&[reading(1, None, 1100), reading(2, Some(1), 670)], true, 10.0);
    assert_eq!((cpu_of(&owns, 1), cpu_of(&owns, 2)), (30, 70));
    assert_eq!(owns[0].local, [Some(100); LOCAL], "what is not shared is not subtracted");
    assert_eq!(owns[0].mem_working_set_b, Some(430));
}

#[test]
fn a_cgroup_that_is_new_is_billed_from_its_first_moment() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 1000)], true, 0.0);
    let owns = accounts.interval(&[reading(1, None, 1500), reading(2, Some(1), 400)], true, 1.0);
    assert_eq!((cpu_of(&owns, 1), cpu_of(&owns, 2)), (100, 400));
    assert_eq!(owns[1].mem_byte_s, Some(200.0), "half of the interval");
}

#[test]
fn a_cgroup_that_was_left_out_is_not_taken_for_new() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 1000)], false, 0.0);
    let owns = accounts.interval(&[reading(1, None, 1500), reading(2, Some(1), 400)], true, 1.0);
    assert_eq!((cpu_of(&owns, 1), cpu_of(&owns, 2)), (500, 0));
}

#[test]
fn what_a_cgroup_used_at_last_is_its_parents() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 1000), reading(2, Some(1), 500)], true, 0.0);
    // The child used 70 more, then went; the root itself used 5.
    let owns = accounts.interval(&[reading(1, None, 1075)], true, 2.0);
    assert_eq!(cpu_of(&owns, 1), 75);
    let last = owns.iter().find(|own| own.id == 2).unwrap();
    assert_eq!((last.mem_byte_s, last.shared[0]), (Some(500.0), None));
    let owns = accounts.interval(&[reading(1, None, 1080)], true, 2.0);
    assert_eq!(cpu_of(&owns, 1), 5);
    assert_eq!(owns.len(), 1);
}

#[test]
fn the_same_path_made_again_is_another_cgroup() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 1000), reading(2, Some(1), 500)], true, 0.0);
    let again = Reading { path: "/2".into(), ..reading(3, Some(1), 40) };
    let owns = accounts.interval(&[reading(1, None, 1050), again], true, 1.0);
    assert_eq!((cpu_of(&owns, 1), cpu_of(&owns, 3)), (10, 40));
}

#[test]
fn a_counter_that_began_again_counts_from_zero() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 1000)], true, 0.0);
    assert_eq!(cpu_of(&accounts.interval(&[reading(1, None, 30)], true, 1.0), 1), 30);
}

#[test]
fn a_child_ahead_of_its_parent_is_made_up_for_later() {
    let mut accounts = Accounts::default();
    accounts.interval(&[reading(1, None, 0), reading(2, Some(1), 0)], true, 0.0);
    let first = accounts.interval(&[reading(1, None, 100), reading(2, Some(1), 120)], true, 1.0);
    assert_eq!((cpu_of(&first, 1), cpu_of(&first, 2)), (0, 120));
    let second = accounts.interval(&[reading(1, None, 150), reading(2, Some(1), 120)], true, 1.0);
    assert_eq!((cpu_of(&second, 1), cpu_of(&second, 2)), (30, 0));
}

#[test]
fn what_the_kernel_does_not_count_is_null() {
    let mut accounts = Accounts::default();
    let bare = Reading { id: 1, path: "/".into(), ..Reading::default() };
    accounts.interval(std::slice::from_ref(&bare), true, 0.0);
    let owns = accounts.interval(&[bare], true, 1.0);
    assert_eq!((owns[0].shared, owns[0].local, owns[0].mem_byte_s), ([None; SHARED], [None; LOCAL], None));
}

/// What one step does to the tree of cgroups.
#[derive(Debug, Clone)]
enum Step {
    Make(prop::sample::Index),
    Remove(prop::sample::Index),
    Use(prop::sample::Index, u64),
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let any_cgroup = any::<prop::sample::Index>;
    prop_oneof![
        2 => any_cgroup().prop_map(Step::Make),
        1 => any_cgroup().prop_map(Step::Remove),
        6 => (any_cgroup(), 0..1000_u64).prop_map(|(at, used)| Step::Use(at, used)),
        3 => Just(Step::Read),
    ]
}

/// Cgroups as the kernel has them: counters include what children used, those
/// that are gone too.
#[derive(Debug)]
struct Kernel {
    cgroups: Vec<Reading>,
    next_id: u64,
}

impl Kernel {
    fn new() -> Self {
        Self { cgroups: vec![reading(ROOT, None, 12_345)], next_id: 2 }
    }

    fn make(&mut self, parent: u64) {
        self.cgroups.push(reading(self.next_id, Some(parent), 0));
        self.next_id += 1;
    }

    fn remove(&mut self, id: u64) {
        let is_leaf = self.cgroups.iter().all(|cgroup| cgroup.parent != Some(id));
        if id != ROOT && is_leaf {
            self.cgroups.retain(|cgroup| cgroup.id != id);
        }
    }

    fn consume(&mut self, id: u64, used: u64) {
        let mut at = Some(id);
        while let Some(id) = at {
            let cgroup = self.cgroups.iter_mut().find(|cgroup| cgroup.id == id).unwrap();
            cgroup.shared.iter_mut().flatten().for_each(|count| *count += used);
            at = cgroup.parent;
        }
    }
}

proptest! {
    /// Goal: the rows sum up to what the root counted, whatever comes and goes.
    /// Method: a model of the kernel's counters; all readings at one moment.
    #[test]
    fn the_parts_sum_up_to_the_whole(steps in prop::collection::vec(step(), 1..60)) {
        let mut kernel = Kernel::new();
        let mut accounts = Accounts::default();
        accounts.interval(&kernel.cgroups, true, 0.0);
        let (start, mut told) = (12_345, 0);
        for step in steps.into_iter().chain([Step::Read]) {
            let ids: Vec<u64> = kernel.cgroups.iter().map(|cgroup| cgroup.id).collect();
            match step {
                Step::Make(at) => kernel.make(*at.get(&ids)),
                Step::Remove(at) => kernel.remove(*at.get(&ids)),
                Step::Use(at, used) => kernel.consume(*at.get(&ids), used),
                Step::Read => {
                    told += sum(&accounts.interval(&kernel.cgroups, true, 1.0));
                    prop_assert_eq!(told, kernel.cgroups[0].shared[0].unwrap() - start);
                }
            }
        }
    }

    /// Goal: reading cgroups one after the other bills nothing twice. Method: each
    /// child is ahead of its parent by some use that the parent shows at the next,
    /// quiet reading.
    #[test]
    fn what_is_read_too_early_is_not_billed_twice(
        uses in prop::collection::vec((0..1000_u64, 0..1000_u64, 0..50_u64), 1..20),
    ) {
        let mut accounts = Accounts::default();
        accounts.interval(&[reading(1, None, 0), reading(2, Some(1), 0)], true, 0.0);
        let (mut root, mut child, mut told) = (0, 0, 0);
        for (own, childs, ahead) in uses {
            child += childs;
            root += own + childs;
            told += sum(&accounts.interval(&[reading(1, None, root), reading(2, Some(1), child + ahead)], true, 1.0));
            child += ahead;
            root += ahead;
        }
        // Enough of the root's own to make up for all that was ahead.
        root += 50;
        told += sum(&accounts.interval(&[reading(1, None, root), reading(2, Some(1), child)], true, 1.0));
        prop_assert_eq!(told, root);
    }
}

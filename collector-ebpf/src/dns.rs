//! DNS messages that leave the machine, whatever call sent them.

#![allow(unsafe_code)]

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::{cgroup_skb, map};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::SkBuffContext;
use bailiwick_collector_ebpf::{DNS_MAX, Dns, Header, class, kind};
use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};

use crate::out;
use crate::socket::{AF_INET, AF_INET6};
use crate::task::{self, clear, current, wanted};

/// A packet that may go on.
const PASS: i32 = 1;
const UDP: u8 = 17;
const PORT: u16 = 53;
const UDP_BYTES: u32 = 8;

#[repr(C)]
struct DnsRecord {
    header: Header,
    body: Dns,
    data: [u8; DNS_MAX],
}

#[map]
static DNS_SCRATCH: PerCpuArray<DnsRecord> = PerCpuArray::with_max_entries(1, 0);

/// Every packet that a process of the machine sends.
#[cgroup_skb]
#[inline(always)]
fn packet_out(ctx: SkBuffContext) -> i32 {
    // Safety: the scratch record is this program's alone while it runs.
    unsafe { look(&ctx) };
    PASS
}

#[inline(always)]
unsafe fn load<const N: usize>(ctx: &SkBuffContext, offset: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    let to = bytes.as_mut_ptr() as *mut c_void;
    // Safety: as many bytes as the array has, and all of them were written.
    unsafe {
        if bpf_skb_load_bytes(ctx.as_ptr(), offset, to, N as u32) == 0 {
            Some(bytes.assume_init())
        } else {
            None
        }
    }
}

#[inline(always)]
unsafe fn look(ctx: &SkBuffContext) -> Option<()> {
    unsafe {
        let [first] = load::<1>(ctx, 0)?;
        let (family, header) = if first >> 4 == 4 {
            let [protocol] = load::<1>(ctx, 9)?;
            if protocol != UDP {
                return None;
            }
            (AF_INET, ((first & 15) as u32) * 4)
        } else {
            let [protocol] = load::<1>(ctx, 6)?;
            if protocol != UDP {
                return None;
            }
            (AF_INET6, 40)
        };
        let [s0, s1, d0, d1, l0, l1] = load::<6>(ctx, header)?;
        if u16::from_be_bytes([d0, d1]) != PORT || !wanted(current()) {
            return None;
        }
        let record = DNS_SCRATCH.get_ptr_mut(0)?;
        let body = &raw mut (*record).body;
        (*body).family = family;
        (*body).local_port = u16::from_be_bytes([s0, s1]);
        (*body).remote_port = PORT;
        addresses(ctx, body)?;
        let length = (u16::from_be_bytes([l0, l1]) as u32).wrapping_sub(UDP_BYTES);
        // Written so that the verifier sees that it is neither zero nor too long.
        let length = if length >= DNS_MAX as u32 { DNS_MAX as u32 } else { length };
        if length == 0 {
            return None;
        }
        let to = &raw mut (*record).data as *mut c_void;
        if bpf_skb_load_bytes(ctx.as_ptr(), header + UDP_BYTES, to, length) != 0 {
            return None;
        }
        (*body).data_len = length as u16;
        let size = (size_of::<Header>() + size_of::<Dns>()) as u32 + length;
        task::fill(&raw mut (*record).header, current(), kind::DNS, 0, size);
        out::network(class::DNS, record as *mut c_void, size);
        None
    }
}

#[inline(always)]
unsafe fn addresses(ctx: &SkBuffContext, body: *mut Dns) -> Option<()> {
    unsafe {
        if (*body).family == AF_INET {
            clear(&raw mut (*body).local);
            clear(&raw mut (*body).remote);
            *(&raw mut (*body).local as *mut [u8; 4]) = load(ctx, 12)?;
            *(&raw mut (*body).remote as *mut [u8; 4]) = load(ctx, 16)?;
        } else {
            (*body).local = load(ctx, 8)?;
            (*body).remote = load(ctx, 24)?;
        }
        Some(())
    }
}

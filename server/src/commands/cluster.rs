//! CLUSTER and its kin, as a server answers that is in no cluster: clients ask to find out.

use keyspace::CommandError;
use keyspace::commands::{Keys, flags::*, spec};

use super::ProcessSpec;
use crate::client::ClientId;
use crate::executor::Server;

const TELLS: u32 = STALE;
const RULES: u32 = ADMIN | STALE | NO_ASYNC_LOADING;

/// The rows.
#[rustfmt::skip]
pub const TABLE: &[ProcessSpec] = &[
    ProcessSpec {
        subcommands: &[
            row("help", 2, LOADING | STALE, "5.0.0", "Lists the subcommands."),
            row("addslots", -3, RULES, "3.0.0", "Assigns slots to this node."),
            row("addslotsrange", -4, RULES, "7.0.0", "Assigns ranges of slots to this node."),
            row("bumpepoch", 2, RULES, "3.0.0", "Moves this node to a new epoch."),
            row("count-failure-reports", 3, ADMIN | STALE, "3.0.0", "Counts who says that a node has failed."),
            row("countkeysinslot", 3, TELLS, "3.0.0", "Counts the keys of a slot."),
            row("delslots", -3, RULES, "3.0.0", "Takes slots from this node."),
            row("delslotsrange", -4, RULES, "7.0.0", "Takes ranges of slots from this node."),
            row("failover", -2, RULES, "3.0.0", "Lets a replica take over."),
            row("flushslots", 2, RULES, "3.0.0", "Takes all slots from this node."),
            row("forget", 3, RULES, "3.0.0", "Forgets a node."),
            row("getkeysinslot", 4, TELLS, "3.0.0", "Lists keys of a slot."),
            row("info", 2, TELLS, "3.0.0", "Describes the cluster."),
            row("keyslot", 3, TELLS, "3.0.0", "Tells the slot of a key."),
            row("links", 2, TELLS, "7.0.0", "Lists the connections between nodes."),
            row("meet", -4, RULES, "3.0.0", "Introduces another node."),
            row("myid", 2, TELLS, "3.0.0", "Tells the name of this node."),
            row("nodes", 2, TELLS, "3.0.0", "Lists the nodes."),
            row("replicas", 3, ADMIN | STALE, "5.0.0", "Lists the replicas of a node."),
            row("replicate", 3, RULES, "3.0.0", "Makes this node a replica of another."),
            row("reset", -2, ADMIN | STALE | NOSCRIPT, "3.0.0", "Takes this node out of the cluster."),
            row("saveconfig", 2, RULES, "3.0.0", "Writes the state of the cluster to its file."),
            row("set-config-epoch", 3, RULES, "3.0.0", "Sets the epoch of a new node."),
            row("setslot", -4, RULES, "3.0.0", "Says whose a slot is."),
            row("shards", 2, LOADING | TELLS, "7.0.0", "Lists the shards."),
            row("slaves", 3, ADMIN | STALE, "3.0.0", "Lists the replicas of a node."),
            row("slots", 2, LOADING | TELLS, "3.0.0", "Lists whose the slots are."),
        ],
        ..row("cluster", -2, 0, "3.0.0", "Commands about the cluster.")
    },
    row("asking", 1, FAST | CONNECTION, "3.0.0", "Lets the next command reach a slot that is on its way."),
    row("readonly", 1, LOADING | STALE | FAST | CONNECTION, "3.0.0", "Lets a replica answer reads."),
    row("readwrite", 1, LOADING | STALE | FAST | CONNECTION, "3.0.0", "Ends READONLY."),
];

const fn row(
    name: &'static str,
    arity: i32,
    flags: u32,
    since: &'static str,
    summary: &'static str,
) -> ProcessSpec {
    spec(name, refuse, arity, flags, Keys::None, since, summary)
}

fn refuse(_: &mut Server, _: ClientId, _: &[&[u8]]) -> Result<(), CommandError> {
    Err(CommandError::other("ERR This instance has cluster support disabled"))
}

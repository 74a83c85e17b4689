package metrics

import "github.com/prometheus/client_golang/prometheus"

// components are the metrics that the cluster and the store register for
// themselves. They stand here to be documented; a test holds the list against
// what they export.
var components = []Metric{
	{"dunlin_cluster_members", prometheus.GaugeValue, []string{"state"}, "Members of the cluster as this node sees it, by state"},
	{"dunlin_cluster_unconfirmed_bytes", prometheus.GaugeValue, []string{"node"}, "Forwarded bytes that the peer has not confirmed"},
	{"dunlin_cluster_feed_lag_versions", prometheus.GaugeValue, []string{"node"}, "Own route changes that the peer has not confirmed"},
	{"dunlin_cluster_route_waiters", prometheus.GaugeValue, nil, "Callers that wait for peers to hold a route"},
	{"dunlin_cluster_frames_out_total", prometheus.CounterValue, nil, "Frames forwarded to peers"},
	{"dunlin_cluster_frames_in_total", prometheus.CounterValue, nil, "Frames taken from peers"},
	{"dunlin_cluster_bytes_out_total", prometheus.CounterValue, nil, "Bytes of batches sent to peers"},
	{"dunlin_cluster_bytes_in_total", prometheus.CounterValue, nil, "Bytes of batches received from peers"},
	{"dunlin_cluster_frames_resent_total", prometheus.CounterValue, nil, "Frames sent again after a broken stream"},
	{"dunlin_cluster_stream_reconnects_total", prometheus.CounterValue, nil, "Streams to peers that had to be opened again"},
	{"dunlin_cluster_bad_frames_total", prometheus.CounterValue, nil, "Streams closed because of a malformed or misplaced frame"},
	{"dunlin_cluster_frames_dropped_total", prometheus.CounterValue, []string{"reason"}, "Unreliable frames dropped, by reason"},
	{"dunlin_cluster_frames_lost_total", prometheus.CounterValue, []string{"reason"}, "Reliable frames whose peer is gone, by reason"},
	{"dunlin_cluster_strangers_refused_total", prometheus.CounterValue, []string{"reason"}, "Nodes refused in gossip, and callers at the handshake, by reason"},
	{"dunlin_cluster_members_gone_total", prometheus.CounterValue, []string{"reason"}, "Members that are gone, by how it was found out"},

	{"dunlin_shard_routes_asks_total", prometheus.CounterValue, []string{"kind"}, "Messages with routes of shards led here to the nodes that are to hold them, by kind"},
	{"dunlin_shard_routes_refused_total", prometheus.CounterValue, []string{"reason"}, "Messages about routes of shards that were refused, by reason"},
	{"dunlin_shard_routes_feeds", prometheus.GaugeValue, []string{"state"}, "Nodes that are fed with routes of shards led here, once for each shard, by whether they hold them all"},
	{"dunlin_shard_routes_waiting", prometheus.GaugeValue, []string{"at"}, "Callers that wait for the routes of a shard to be everywhere, at its leader or elsewhere"},

	{"dunlin_store_entries_applied_total", prometheus.CounterValue, nil, "Log entries applied, all shards"},
	{"dunlin_store_commands_applied_total", prometheus.CounterValue, nil, "Commands applied, all shards"},
	{"dunlin_store_entry_commands", prometheus.UntypedValue, nil, "Commands in a log entry"},
	{"dunlin_store_wills_fired_total", prometheus.CounterValue, nil, "Wills published"},
	{"dunlin_store_deliveries_pushed_total", prometheus.CounterValue, nil, "Deliveries handed to the owners of sessions"},
	{"dunlin_store_dropped_total", prometheus.CounterValue, []string{"reason"}, "Queued messages dropped, by reason"},
	{"dunlin_store_sessions", prometheus.GaugeValue, nil, "Sessions and claims held, and guests: identifiers that connections hold without a claim"},
	{"dunlin_store_queued_messages", prometheus.GaugeValue, nil, "Messages queued, each counted once per shard"},
	{"dunlin_store_queued_bytes", prometheus.GaugeValue, nil, "Bytes of the messages queued"},
	{"dunlin_store_queued_memory_bytes", prometheus.GaugeValue, nil, "Bytes of the messages queued that are held in memory"},
	{"dunlin_store_spilled_bytes", prometheus.GaugeValue, nil, "Bytes of the messages queued that are in scratch files instead"},
	{"dunlin_store_scratch_bytes", prometheus.GaugeValue, nil, "Size of the scratch files"},
	{"dunlin_store_spills_total", prometheus.CounterValue, nil, "Queued messages written to scratch files, for want of memory"},
	{"dunlin_store_spill_reads_total", prometheus.CounterValue, nil, "Queued messages read back from scratch files for sessions, or to rewrite a file"},
	{"dunlin_store_letters", prometheus.GaugeValue, nil, "Messages and news of share groups on their way to other shards"},
	{"dunlin_store_retained_messages", prometheus.GaugeValue, nil, "Topics with a retained message"},
	{"dunlin_store_retained_bytes", prometheus.GaugeValue, nil, "Bytes of the retained messages"},
	{"dunlin_store_retained_reads_total", prometheus.CounterValue, nil, "Pages of retained messages asked for"},
	{"dunlin_store_claims_contended_total", prometheus.CounterValue, nil, "Claims refused because their client identifier changes hands too often"},

	{"dunlin_raft_log_segments", prometheus.GaugeValue, nil, "Segment files of the Raft log in use"},
	{"dunlin_raft_log_file_bytes", prometheus.GaugeValue, nil, "Size of the segment files in use"},
	{"dunlin_raft_log_live_bytes", prometheus.GaugeValue, nil, "Size of the entries that Raft groups still need"},
	{"dunlin_raft_log_failed", prometheus.GaugeValue, nil, "1 if a write or sync failed and the node must stop"},
	{"dunlin_raft_log_written_bytes_total", prometheus.CounterValue, nil, "Bytes of batches written to the Raft log"},
	{"dunlin_raft_log_moved_bytes_total", prometheus.CounterValue, nil, "Bytes of entries copied so that a segment could be recycled"},
	{"dunlin_raft_log_syncs_total", prometheus.CounterValue, nil, "Syncs of log files"},
	{"dunlin_raft_log_cache_hits_total", prometheus.CounterValue, nil, "Entries read from memory"},
	{"dunlin_raft_log_cache_misses_total", prometheus.CounterValue, nil, "Entries read from disk"},
	{"dunlin_raft_log_batch_requests", prometheus.UntypedValue, nil, "Calls stored with one write and one sync"},
	{"dunlin_raft_log_batch_bytes", prometheus.UntypedValue, nil, "Bytes stored with one write and one sync"},
	{"dunlin_raft_log_batch_seconds", prometheus.UntypedValue, nil, "Time to write and sync a batch"},
	{"dunlin_raft_snapshots_unstored_total", prometheus.CounterValue, nil, "Snapshots of Raft groups that were left out as there was no room on the disk, or no file descriptor"},

	{"dunlin_shardnet_asks_total", prometheus.CounterValue, []string{"outcome"}, "Frames of commands brought to shard leaders on other nodes, by outcome"},
	{"dunlin_shardnet_pushes_total", prometheus.CounterValue, []string{"kind"}, "Records pushed to the owners of sessions on other nodes, by kind"},
	{"dunlin_shardnet_deliveries_dropped_total", prometheus.CounterValue, []string{"reason"}, "Deliveries not pushed to another node, by reason; those of QoS 1 and 2 are pushed again"},
	{"dunlin_shardnet_evictions_forgotten_total", prometheus.CounterValue, nil, "Handovers asked of owners on other nodes whose answers are not waited for, as too many were asked for"},
	{"dunlin_shardnet_bad_records_total", prometheus.CounterValue, []string{"kind"}, "Records and answers of other nodes that do not parse, by kind"},
}

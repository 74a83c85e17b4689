// Package backup says what a backup file of a cluster looks like, and reads and
// writes it. A file is
//
//	magic   8 bytes, version in the last
//	chunks
//
// and a chunk is
//
//	kind      1 byte
//	shard     2 bytes, big-endian; 0 where it is of none
//	length    4 bytes, big-endian: of the body
//	body
//	checksum  8 bytes, big-endian: xxhash64 of all before it in the chunk
//
// First comes the head, in JSON; then the records of access, in JSON too, in as many chunks
// as they fill, none if there are none; then of each shard its beginning, pieces of what
// the shard's leader wrote, and its end; last the end of the file. A shard that
// begins again takes the place of what there was of it, so that a shard whose
// leader was lost half-way is written once more. A file without its end is not
// whole, and is not read.
package backup

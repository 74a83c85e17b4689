// Package upgrade rolls clusters of real processes from one release to another while clients
// publish and subscribe, node by node, and one node back: nothing that was acknowledged is lost,
// nothing of QoS 2 comes twice, order and session present are right (package chaos/check), and
// the cluster serves in between.
//
// What it begins with is built from the history of this repository: the parent of HEAD, or what
// the variable UPGRADE_FROM names. Where there is no history the tests are left out. With
// -upgrade.full they take their time, and roll on to a release that does not exist yet, which is
// this one at a level that is one higher (package raftstore/level): see `make e2e-upgrade`.
package upgrade

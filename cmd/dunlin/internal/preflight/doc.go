// Package preflight says, before a load test or a node starts, which limit of
// this machine will stop it: what was found, what is needed, and the command that
// changes it.
//
// Read gathers Facts; Check compares them with a Plan and is a function of both.
// What cannot be read is a finding as well and never a guess. The limits are
// Linux's; on another system there is one finding, that nothing was checked.
package preflight

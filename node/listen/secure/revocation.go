package secure

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"sync/atomic"
	"time"
)

// maxListBytes bounds a file of lists of revoked certificates.
const maxListBytes = 64 << 20

var (
	errRevoked  = errors.New("secure: client's certificate is revoked")
	errUnlisted = errors.New("secure: no list of revoked certificates in force for the issuer of a client's certificate")
)

// revocations are lists of revoked certificates (RFC 5280, section 5), as they were
// read at one time, and what they say of clients' certificates.
//
// Each certificate between the client's own and an authority that is trusted by itself
// has to be on no list of its issuer's. If no list of its issuer's is in force, nobody
// knows: the certificate is refused, unless lenient says otherwise. Whoever stands on a
// list is revoked also when the time of the list is over, which has not made that
// certificate any better.
type revocations struct {
	of      map[string][]*crl              // by the issuer's name, in DER
	above   map[string][]*x509.Certificate // by a trusted authority, in DER: the trusted ones that have signed it, upwards
	lenient bool
	log     *slog.Logger
	missing atomic.Bool // the log has told of an issuer without a list
}

// crl is what is kept of a list.
type crl struct {
	issuer      string
	from, until time.Time // until: zero if it says nothing
	serials     []string  // revoked, in order

	signed x509.RevocationList              // what its signature is made of
	signer atomic.Pointer[x509.Certificate] // the last whose key had made it
	told   atomic.Bool                      // the log has told that its time is over
}

// verdict is what lists say of a certificate; of several the last counts.
type verdict uint8

const (
	good     verdict = iota
	unlisted         // no list of its issuer's is in force
	revoked
)

// newRevocations reads the contents of files. trusted are the authorities whose word
// is enough.
func newRevocations(files [][]byte, trusted []*x509.Certificate, lenient bool) (*revocations, int, error) {
	r := &revocations{of: make(map[string][]*crl), above: make(map[string][]*x509.Certificate), lenient: lenient}
	for k, b := range files {
		lists, err := parseLists(b)
		if err != nil {
			return nil, k, err
		}
		for _, x := range lists {
			if err := checkList(x, trusted); err != nil {
				return nil, k, err
			}
			r.of[string(x.RawIssuer)] = append(r.of[string(x.RawIssuer)], newList(x))
		}
	}
	for _, c := range trusted {
		r.above[string(c.Raw)] = signersOf(c, trusted)
	}
	return r, 0, nil
}

// parseLists reads a file: one list in DER, or any number in PEM.
func parseLists(b []byte) (lists []*x509.RevocationList, err error) {
	begin := []byte("-----BEGIN")
	switch {
	case len(b) > maxListBytes:
		return nil, fmt.Errorf("more than %d bytes", maxListBytes)
	case !bytes.Contains(b, begin):
		x, err := x509.ParseRevocationList(b)
		if err != nil {
			return nil, errors.New("no list of revoked certificates in it, in PEM or DER")
		}
		return []*x509.RevocationList{x}, nil
	}
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a PEM block %q, want %q", block.Type, "X509 CRL")
		}
		x, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, x)
	}
	if len(lists) == 0 || bytes.Contains(b, begin) {
		return nil, errors.New("a PEM block in it is cut off or damaged")
	}
	return lists, nil
}

// checkList says what is wrong with a list: that it speaks of a part of what its issuer
// has signed, or of others' certificates, of which an extension that is critical tells;
// or that somebody else has made it, if its issuer is known here.
func checkList(x *x509.RevocationList, trusted []*x509.Certificate) error {
	if e := criticalOf(x.Extensions); e != nil {
		return criticalError(x, e)
	}
	for i := range x.RevokedCertificateEntries {
		if e := criticalOf(x.RevokedCertificateEntries[i].Extensions); e != nil {
			return criticalError(x, e)
		}
	}
	var err error
	for _, c := range trusted {
		if !bytes.Equal(c.RawSubject, x.RawIssuer) {
			continue
		}
		if err = x.CheckSignatureFrom(c); err == nil {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("the list of %q is not its issuer's: %w", x.Issuer, err)
	}
	return nil
}

func criticalOf(extensions []pkix.Extension) *pkix.Extension {
	for i := range extensions {
		if extensions[i].Critical {
			return &extensions[i]
		}
	}
	return nil
}

func criticalError(x *x509.RevocationList, e *pkix.Extension) error {
	return fmt.Errorf("the list of %q has a critical extension %v that is not understood: want complete lists, of the issuer's own certificates", x.Issuer, e.Id)
}

func newList(x *x509.RevocationList) *crl {
	l := &crl{issuer: x.Issuer.String(), from: x.ThisUpdate, until: x.NextUpdate}
	for i := range x.RevokedCertificateEntries {
		l.serials = append(l.serials, serialOf(x.RevokedCertificateEntries[i].SerialNumber))
	}
	slices.Sort(l.serials)
	l.signed = x509.RevocationList{
		RawTBSRevocationList: bytes.Clone(x.RawTBSRevocationList), Signature: x.Signature, SignatureAlgorithm: x.SignatureAlgorithm,
	}
	return l
}

func serialOf(n *big.Int) string { return string(n.Bytes()) }

// signersOf are the trusted authorities above a trusted one. It is as good as they say
// it is: who trusts both may have a list of the upper one with the lower one on it.
func signersOf(c *x509.Certificate, trusted []*x509.Certificate) (above []*x509.Certificate) {
	for len(above) < len(trusted) && !bytes.Equal(c.RawSubject, c.RawIssuer) {
		i := slices.IndexFunc(trusted, func(p *x509.Certificate) bool {
			return bytes.Equal(p.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(p) == nil
		})
		if i < 0 {
			break
		}
		c = trusted[i]
		above = append(above, c)
	}
	return above
}

// verify judges a client in its handshake, by the chains that TLS has verified; one
// that is good is enough. A client without a certificate has none.
func (r *revocations) verify(chains [][]*x509.Certificate) error {
	switch v := r.judge(chains, time.Now()); {
	case v == revoked:
		return errRevoked
	case v == unlisted && !r.lenient:
		return errUnlisted
	}
	return nil
}

// revokes says whether a client's certificate is revoked now.
func (r *revocations) revokes(chains [][]*x509.Certificate) bool {
	return r.judge(chains, time.Now()) == revoked
}

func (r *revocations) judge(chains [][]*x509.Certificate, now time.Time) verdict {
	if len(chains) == 0 {
		return good
	}
	least := revoked
	for _, chain := range chains {
		least = min(least, r.judgeChain(chain, now))
	}
	return least
}

func (r *revocations) judgeChain(chain []*x509.Certificate, now time.Time) (v verdict) {
	c := chain[0]
	for _, issuer := range chain[1:] {
		v = max(v, r.judgeOne(c, issuer, now))
		c = issuer
	}
	for _, issuer := range r.above[string(c.Raw)] {
		v = max(v, r.judgeOne(c, issuer, now))
		c = issuer
	}
	return v
}

// judgeOne judges a certificate that issuer has signed.
func (r *revocations) judgeOne(c, issuer *x509.Certificate, now time.Time) verdict {
	v, listed := unlisted, false
	for _, l := range r.of[string(c.RawIssuer)] {
		if !l.isOf(issuer) {
			continue
		}
		listed = true
		if _, found := slices.BinarySearch(l.serials, serialOf(c.SerialNumber)); found {
			return revoked
		}
		if l.inForce(now) {
			v = good
		} else {
			r.tell(l)
		}
	}
	if !listed && !r.missing.Swap(true) {
		r.log.Warn("no list of revoked certificates", "issuer", issuer.Subject.String(), "clients", r.answer())
	}
	return v
}

// tell has the log say, once, that a list is not in force.
func (r *revocations) tell(l *crl) {
	if !l.told.Swap(true) {
		r.log.Warn("list of revoked certificates is not in force", "issuer", l.issuer,
			"valid_from", l.from, "valid_until", l.until, "clients", r.answer())
	}
}

// warn tells of the lists that are not in force now.
func (r *revocations) warn(now time.Time) {
	for _, lists := range r.of {
		for _, l := range lists {
			if !l.inForce(now) {
				r.tell(l)
			}
		}
	}
}

// answer is what becomes of clients of whom nobody knows.
func (r *revocations) answer() string {
	if r.lenient {
		return "taken all the same"
	}
	return "refused"
}

// isOf says whether a list was made by issuer, whose name it has.
func (l *crl) isOf(issuer *x509.Certificate) bool {
	if last := l.signer.Load(); last != nil && bytes.Equal(last.Raw, issuer.Raw) {
		return true
	}
	if l.signed.CheckSignatureFrom(issuer) != nil {
		return false
	}
	l.signer.Store(issuer)
	return true
}

func (l *crl) inForce(now time.Time) bool {
	return !now.Before(l.from) && (l.until.IsZero() || now.Before(l.until))
}

// expiry is the end of the list that is over first; zero for never.
func (r *revocations) expiry() (first time.Time) {
	for _, lists := range r.of {
		for _, l := range lists {
			if !l.until.IsZero() && (first.IsZero() || l.until.Before(first)) {
				first = l.until
			}
		}
	}
	return first
}

// size is the number of certificates that are revoked.
func (r *revocations) size() (n int) {
	for _, lists := range r.of {
		for _, l := range lists {
			n += len(l.serials)
		}
	}
	return n
}

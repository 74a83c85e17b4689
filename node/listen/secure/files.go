package secure

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// Files are what a server's configuration is made of, in PEM.
type Files struct {
	Certs, Keys []string // pairs; which of them a client is shown, SNI decides, else it is the first
	ClientCA    string   // whose certificates of clients are good; "": nobody's
	ClientAuth  tls.ClientAuthType
	MinVersion  uint16
}

// FileError is the error of one of Files.
type FileError struct {
	Setting string // "cert", "key" or "client-ca"
	Path    string
	Err     error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("tls.%s: %q: %v", e.Setting, e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// credentials are Files as they were read at one time.
type credentials struct {
	digest [sha256.Size]byte // of all files
	config *tls.Config
	expiry time.Time // of the certificate that expires first
}

// Check reads the files and says what is wrong with them: an error of type
// *FileError.
func (f Files) Check() error {
	_, err := f.load()
	return err
}

// load reads and parses the files. The digest is right even with an error, if they
// can be read.
func (f Files) load() (c credentials, err error) {
	contents, err := f.read(&c)
	if err != nil {
		return c, err
	}
	c.config = &tls.Config{MinVersion: f.MinVersion, ClientAuth: f.ClientAuth}
	n := len(f.Certs)
	for k := range f.Certs {
		cert, err := pair(contents[k], contents[n+k])
		if err != nil {
			return c, &FileError{"cert", f.Certs[k], fmt.Errorf("with key %q: %w", f.Keys[k], err)}
		}
		c.config.Certificates = append(c.config.Certificates, cert)
		if after := cert.Leaf.NotAfter; c.expiry.IsZero() || after.Before(c.expiry) {
			c.expiry = after
		}
	}
	if f.ClientCA != "" {
		c.config.ClientCAs = x509.NewCertPool()
		if !c.config.ClientCAs.AppendCertsFromPEM(contents[2*n]) {
			return c, &FileError{"client-ca", f.ClientCA, errors.New("no certificate in it")}
		}
	}
	return c, nil
}

// read returns what is in Certs, Keys and ClientCA, in this order.
func (f Files) read(c *credentials) (contents [][]byte, err error) {
	sum := sha256.New()
	add := func(setting, path string) {
		b, e := os.ReadFile(path)
		var pe *fs.PathError
		if errors.As(e, &pe) {
			e = pe.Err
		}
		if e != nil && err == nil {
			err = &FileError{setting, path, e}
		}
		contents = append(contents, b)
		fmt.Fprintf(sum, "%d %v ", len(b), e)
		sum.Write(b)
	}
	for _, path := range f.Certs {
		add("cert", path)
	}
	for _, path := range f.Keys {
		add("key", path)
	}
	if f.ClientCA != "" {
		add("client-ca", f.ClientCA)
	}
	sum.Sum(c.digest[:0])
	return contents, err
}

// pair parses a certificate with its key.
func pair(cert, key []byte) (tls.Certificate, error) {
	if b, _ := pem.Decode(cert); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the certificate's file")
	}
	if b, _ := pem.Decode(key); b == nil {
		return tls.Certificate{}, errors.New("no PEM in the key's file")
	}
	return tls.X509KeyPair(cert, key)
}

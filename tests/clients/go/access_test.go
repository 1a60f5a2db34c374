package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/tools/reference"
)

// TestTokens asks for a service account's token, uses it and has it reviewed.
func TestTokens(t *testing.T) {
	c := start(t)
	accounts := c.client.CoreV1().ServiceAccounts(c.space)
	_, err := accounts.Create(c.ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	c.must(err)
	seconds := int64(1200)
	ask := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := accounts.CreateToken(c.ctx, "robot", ask, metav1.CreateOptions{})
	c.must(err)
	config := rest.AnonymousClientConfig(c.config)
	config.BearerToken = token.Status.Token
	robot := kubernetes.NewForConfigOrDie(config)
	self, err := robot.AuthenticationV1().SelfSubjectReviews().Create(c.ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	c.must(err)
	name := "system:serviceaccount:" + c.space + ":robot"
	equal(c, "who asks", self.Status.UserInfo.Username, name)
	_, err = robot.CoreV1().Pods(c.space).List(c.ctx, metav1.ListOptions{})
	c.refused(errors.IsForbidden, err, `User "`+name+`" cannot list resource "pods"`)
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token.Status.Token}}
	review, err = c.client.AuthenticationV1().TokenReviews().Create(c.ctx, review, metav1.CreateOptions{})
	c.must(err)
	equal(c, "authenticated", review.Status.Authenticated, true)
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               name,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: c.space, Verb: "list", Resource: "pods"},
	}}
	access, err = c.client.AuthorizationV1().SubjectAccessReviews().Create(c.ctx, access, metav1.CreateOptions{})
	c.must(err)
	equal(c, "allowed", access.Status.Allowed, false)
	config = rest.CopyConfig(c.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "jane", Groups: []string{"dev"}}
	jane := kubernetes.NewForConfigOrDie(config)
	self, err = jane.AuthenticationV1().SelfSubjectReviews().Create(c.ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	c.must(err)
	equal(c, "who is acted for", self.Status.UserInfo.Username, "jane")
}

// TestEviction is refused while a budget does not allow it.
func TestEviction(t *testing.T) {
	c := start(t)
	pod := c.pod("p")
	one := intstr.FromInt32(1)
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "b"},
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "p"}},
		},
	}
	budget, err := c.client.PolicyV1().PodDisruptionBudgets(c.space).Create(c.ctx, budget, metav1.CreateOptions{})
	c.must(err)
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	_, err = c.client.CoreV1().Pods(c.space).UpdateStatus(c.ctx, pod, metav1.UpdateOptions{})
	c.must(err)
	budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation, CurrentHealthy: 1, DesiredHealthy: 1, ExpectedPods: 1}
	budget, err = c.client.PolicyV1().PodDisruptionBudgets(c.space).UpdateStatus(c.ctx, budget, metav1.UpdateOptions{})
	c.must(err)
	evict := func() error {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: c.space}}
		return c.client.CoreV1().Pods(c.space).EvictV1(c.ctx, eviction)
	}
	err = evict()
	c.refused(errors.IsTooManyRequests, err, "Cannot evict pod as it would violate the pod's disruption budget.")
	if !errors.HasStatusCause(err, policyv1.DisruptionBudgetCause) {
		c.Fatalf("cause: %v", err)
	}
	budget.Status.DisruptionsAllowed = 1
	_, err = c.client.PolicyV1().PodDisruptionBudgets(c.space).UpdateStatus(c.ctx, budget, metav1.UpdateOptions{})
	c.must(err)
	c.must(evict())
}

// TestRecorders write events through both of their APIs; what repeats is counted.
func TestRecorders(t *testing.T) {
	c := start(t)
	pod := c.pod("p")
	about, err := reference.GetReference(scheme.Scheme, pod)
	c.must(err)
	older := record.NewBroadcaster(record.WithContext(c.ctx))
	older.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.client.CoreV1().Events("")})
	recorder := older.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "tests"})
	for range 3 {
		recorder.Event(pod, corev1.EventTypeNormal, "Older", "Told three times")
	}
	newer := events.NewBroadcaster(&events.EventSinkImpl{Interface: c.client.EventsV1()})
	c.must(newer.StartRecordingToSinkWithContext(c.ctx))
	source := newer.NewRecorder(scheme.Scheme, "example.com/tests")
	for range 2 {
		source.Eventf(pod, nil, corev1.EventTypeWarning, "Newer", "Testing", "Told %d times", 2)
	}
	find := func(reason string) *eventsv1.Event {
		list, err := c.client.EventsV1().Events(c.space).List(c.ctx, metav1.ListOptions{FieldSelector: "reason=" + reason})
		c.must(err)
		if len(list.Items) == 1 {
			return &list.Items[0]
		}
		return nil
	}
	c.until("an event that is counted", func() bool {
		found := find("Older")
		return found != nil && found.DeprecatedCount == 3
	})
	c.until("an event of the newer sort", func() bool {
		found := find("Newer")
		return found != nil && found.Note == "Told 2 times" && found.Regarding.UID == about.UID
	})
	searched, err := c.client.CoreV1().Events(c.space).SearchWithContext(c.ctx, scheme.Scheme, pod)
	c.must(err)
	equal(c, "events of the pod", len(searched.Items), 2)
}

// TestCertificates asks for one and approves the request.
func TestCertificates(t *testing.T) {
	c := start(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c.must(err)
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane", Organization: []string{"dev"}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	c.must(err)
	requests := c.client.CertificatesV1().CertificateSigningRequests()
	obj := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{GenerateName: c.space + "-"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName: certificatesv1.KubeAPIServerClientSignerName,
			Usages:     []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth},
		},
	}
	made, err := requests.Create(c.ctx, obj, metav1.CreateOptions{})
	c.must(err)
	made.Status.Conditions = append(made.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Tested",
	})
	made, err = requests.UpdateApproval(c.ctx, made.Name, made, metav1.UpdateOptions{})
	c.must(err)
	equal(c, "condition", made.Status.Conditions[0].Type, certificatesv1.CertificateApproved)
	c.must(requests.Delete(c.ctx, made.Name, metav1.DeleteOptions{}))
}
